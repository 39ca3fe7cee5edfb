"""What a file is, told by how it begins and hardly ever by its name."""

import re
from enum import Enum
from pathlib import PurePosixPath

from app.errors import BrokenPicture, PictureTooLarge, UnsupportedFormat
from app.imaging.formats import checked_format
from app.imaging.limits import DecodeLimits
from app.sources.letters import is_letter
from app.sources.outlook import COMPOUND_FILE
from app.sources.tars import BZIP2, GZIP, XZ, is_tar

HEAD_BYTES = 64 * 1024
"""How much of a file is looked at: a PDF has its mark in the first one, a message its headers in the first few."""

_ANY_FORMAT = DecodeLimits(allow_avif=True, allow_heic=True)
_PICTURE_ENDINGS = frozenset(
    {
        *(
            ".jpg",
            ".jpeg",
            ".jpe",
            ".jfif",
            ".png",
            ".apng",
            ".webp",
            ".gif",
            ".bmp",
            ".dib",
            ".tif",
            ".tiff",
        ),
        *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".jxl", ".psd", ".dng", ".cr2", ".cr3", ".nef"),
        *(".arw", ".raf", ".orf", ".rw2"),
    }
)
_UNREAD = {
    b"Rar!\x1a\x07": "RAR archives",
    b"7z\xbc\xaf\x27\x1c": "7z archives",
    b"\x28\xb5\x2f\xfd": "files packed by zstd",
    b"\x78\x9f\x3e\x22": "winmail.dat files",
    b"MSCF\x00\x00\x00\x00": "cabinet archives",
    b"!BDN": "Outlook data files (.pst)",
}
# RFC 5652: a whole message that is signed or encrypted; what is a signature alone, or certificates, begins so too.
_SEALED = re.compile(rb"\x30.{1,5}\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07[\x02\x03]", re.DOTALL)
_SIGNATURES = frozenset({".p7s", ".p7b", ".p7c"})
_PDF = re.compile(rb"%PDF-[0-9]")
_PDF_WITHIN = 1024  # Adobe's implementation note 13: some mailers put lines of their own before it
_BITMAP_HEADERS = {12, 16, 40, 52, 56, 64, 108, 124}


class Kind(Enum):
    """What a file is to the intake."""

    PICTURE = "picture"
    ZIP = "zip"
    TAR = "tar"
    LETTER = "message (.eml)"
    COMPOUND = "message (.msg)"
    PDF = "PDF"
    UNREAD = "unread container"
    OTHER = "other"


_MAGIC: tuple[tuple[tuple[bytes, ...], Kind], ...] = (
    ((b"PK\x03\x04", b"PK\x05\x06"), Kind.ZIP),
    ((GZIP, BZIP2, XZ), Kind.TAR),
    ((COMPOUND_FILE,), Kind.COMPOUND),
    (tuple(_UNREAD), Kind.UNREAD),
)

CONTAINERS = frozenset({Kind.ZIP, Kind.TAR, Kind.LETTER, Kind.COMPOUND, Kind.PDF})


def kind_of(head: bytes, name: str) -> Kind:
    """Return what a file is, of which `head` is the beginning.

    An ending counts for messages, which begin with nothing of their own, and for what nothing else tells: a
    file that is called a picture is taken for a broken one, not for a text.
    """
    kind = _by_content(head)
    if kind is not None:
        return kind
    ending = PurePosixPath(name).suffix.lower()
    if _SEALED.match(head):
        return Kind.OTHER if ending in _SIGNATURES else Kind.UNREAD
    if ending == ".eml" and head:
        return Kind.LETTER
    return Kind.PICTURE if ending in _PICTURE_ENDINGS else Kind.OTHER


def _by_content(head: bytes) -> Kind | None:
    for magics, kind in _MAGIC:
        if head.startswith(magics):
            return kind
    if is_picture(head):
        return Kind.PICTURE
    if _PDF.search(head, 0, _PDF_WITHIN):
        return Kind.PDF
    if is_tar(head):
        return Kind.TAR
    return Kind.LETTER if is_letter(head) else None


def is_picture(head: bytes) -> bool:
    """Whether a file begins as one of the formats that uploads may have, those that are switched off included."""
    try:
        name = checked_format(head[:HEAD_BYTES], _ANY_FORMAT)
    except UnsupportedFormat:
        return False
    except (BrokenPicture, PictureTooLarge):
        return bool(head)
    # Two letters begin many texts.
    return name != "BMP" or int.from_bytes(head[14:18], "little") in _BITMAP_HEADERS


def unread(head: bytes) -> UnsupportedFormat:
    """Return the error for a container that can't be opened: nobody may take it for one without pictures."""
    if _SEALED.match(head):
        return UnsupportedFormat(
            "Messages signed or encrypted as a whole (smime.p7m) are not read; save what is inside."
        )
    thing = next(thing for magic, thing in _UNREAD.items() if head.startswith(magic))
    return UnsupportedFormat(f"{thing[0].upper()}{thing[1:]} are not read; unpack it first.")
