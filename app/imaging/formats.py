"""Which picture format some bytes are, and whether their structure is fit to be decoded."""

import re
import sys

import numpy as np

from app.errors import BrokenPicture, PictureTooLarge, UnsupportedFormat
from app.imaging.limits import DecodeLimits

ALWAYS_TAKEN = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_MAGIC = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)"
    rb"|(?P<PNG>\x89PNG\r\n\x1a\n)"
    rb"|(?P<WEBP>RIFF....WEBP)"
    rb"|(?P<GIF>GIF8[79]a)"
    rb"|(?P<BMP>BM)"
    rb"|(?P<TIFF>II[*+]\x00|MM\x00[*+])",
    re.DOTALL,
)
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_SCAN_MARKER = int.from_bytes(b"\xff\xda", sys.byteorder)
# A marker is FF and a code; FF 00 is data, FF FF filling, 01 and D0 to D7 stand alone.
_JPEG_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])", re.DOTALL)
_SEQUENTIAL_FRAMES = {0xC0, 0xC1}
_OTHER_FRAMES = {0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}
_START_OF_IMAGE, _END_OF_IMAGE, _START_OF_SCAN = 0xD8, 0xD9, 0xDA

_IMAGE_DATA_CHUNKS = {b"IDAT", b"fdAT"}
# Encoders cut image data into pieces of 4 KiB (often 8 or 32); a file of many smaller ones is made to hurt.
_WHOLE_DATA_CHUNK = 1024
_PNG_HEADER_END = 26
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_DEFLATE_AT_BEST = 1032  # zlib's own figure for the most that one byte inflates to


def checked_format(data: bytes, limits: DecodeLimits) -> str:
    """Pillow's name for the format, judged by content alone, of a file that may be handed to its decoder.

    Raises PictureTooLarge (bytes), UnsupportedFormat, or BrokenPicture for an empty file and for more PNG chunks
    than any real picture has. How many scans a JPEG may have depends on its pixels: `check_jpeg_scans`.
    """
    if not data:
        raise BrokenPicture("The file is empty.")
    if len(data) > limits.max_file_bytes:
        raise PictureTooLarge(
            f"The file has {len(data)} bytes; the limit is {limits.max_file_bytes}.",
            limit=limits.max_file_bytes,
        )
    name = _format(data)
    if name == "AVIF" and not limits.allow_avif:
        raise UnsupportedFormat("AVIF pictures are switched off here (setting ALLOW_AVIF).")
    if name == "HEIF" and not limits.allow_heic:
        raise UnsupportedFormat("HEIC pictures are switched off here (setting ALLOW_HEIC).")
    if name == "PNG":
        _check_png(data, limits.max_png_chunks)
    return name


def _format(data: bytes) -> str:
    known = _MAGIC.match(data)
    if known:
        return str(known.lastgroup)
    if data[4:8] == b"ftyp":
        size = min(int.from_bytes(data[:4], "big"), 256)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, size, 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIC_BRANDS:
            return "HEIF"
    raise UnsupportedFormat(f"The file is not a picture of a known format ({', '.join(ALWAYS_TAKEN)}).")


def check_jpeg_scans(data: bytes, limit: int) -> None:
    """Raise BrokenPicture for a JPEG of more than `limit` scans: each costs as much as a picture."""
    if _has_one_scan(data):
        return
    # Every scan has this marker, so few of them settle it. Many may also lie in metadata, or in a video behind
    # the picture: then the segments are walked, which is slower.
    if _occurrences(data, _SCAN_MARKER) > limit and _scans(data, limit) > limit:
        raise BrokenPicture(f"The JPEG has more than {limit} scans.", limit=limit)


def _has_one_scan(data: bytes) -> bool:
    """Whether the decoder ends with the first scan: sequential, with all components in it, as cameras write."""
    components = 0
    position = 2
    while marker := _JPEG_MARKER.search(data, position):
        code, position = marker[1][0], marker.end()
        length = int.from_bytes(data[position : position + 2], "big")
        if code in _SEQUENTIAL_FRAMES:
            components = data[position + 7] if len(data) > position + 7 else 0
        elif code in _OTHER_FRAMES:
            return False
        elif code == _START_OF_SCAN:
            return 0 < components == (data[position + 2] if len(data) > position + 2 else 0)
        position += length
    return False


def _occurrences(data: bytes, pair: int) -> int:
    """How often two bytes, a word of this machine, follow each other: 0.15 ms a megabyte, `bytes.count` 1 to 4."""
    return sum(
        int(np.count_nonzero(np.frombuffer(data, np.uint16, (len(data) - start) // 2, start) == pair))
        for start in (0, 1)
    )


def _scans(data: bytes, limit: int) -> int:
    scans = 0
    position = 2
    while scans <= limit and (marker := _JPEG_MARKER.search(data, position)):
        code = marker[1][0]
        position = marker.end()
        if code == _END_OF_IMAGE:
            break
        if code != _START_OF_IMAGE:
            scans += code == _START_OF_SCAN
            position += int.from_bytes(data[position : position + 2], "big")
    return scans


def _check_png(data: bytes, limit: int) -> None:
    chunks = 0
    packed = 0
    position = 8
    while position + 8 <= len(data):
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        packed += length if kind == b"IDAT" else 0
        chunks += not (kind in _IMAGE_DATA_CHUNKS and length >= _WHOLE_DATA_CHUNK)
        if chunks > limit:
            raise BrokenPicture(f"The PNG has more than {limit} chunks.", limit=limit)
        if kind == b"IEND":
            break
        position += 12 + length
    _check_png_is_filled(data, packed)


def _check_png_is_filled(data: bytes, packed: int) -> None:
    """Pillow takes image data that ends early as black; refuse what could never fill the picture."""
    if data[12:16] != b"IHDR" or len(data) < _PNG_HEADER_END:
        return  # the decoder says better what is wrong
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    bits = data[24] * _PNG_CHANNELS.get(data[25], 1)
    if height * (width * bits // 8) > packed * _DEFLATE_AT_BEST:
        raise BrokenPicture(f"The PNG has too little data for the {width} x {height} pixels it claims.")
