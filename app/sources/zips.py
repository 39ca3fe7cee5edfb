"""The members of a zip archive."""

import bz2
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from itertools import pairwise
from typing import BinaryIO, cast

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Step, as_text
from app.sources.limits import MIB, Budget
from app.sources.members import Broken, Member, Members, Passed, Slice, broken, leads_out

# Where the format (APPNOTE.TXT 6.3) has the numbers that are needed before the standard library reads them all.
_END = struct.Struct("<4s4H2LH")
_END_MAGIC, _END64_MAGIC = b"PK\x05\x06", b"PK\x06\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_BYTES = 20
_LONGEST_END = _END.size + (1 << 16)
_ENTRY_BYTES = 46
_LOCAL_BYTES = 30
_SYSTEM_UNIX = 3
_ENCRYPTED = 0x1
# Archivers' strongest setting; the dictionary is memory.
_MAX_DICTIONARY_BYTES = 64 * MIB


def zip_members(file: BinaryIO, budget: Budget) -> Members:
    """Yield the files of a zip archive in the order of its directory. Raises what zipfile does, BrokenPicture."""
    _check_directory(file, budget)
    with zipfile.ZipFile(file) as archive:
        overlapping = _overlapping(archive.infolist())
        for position, info in enumerate(archive.infolist(), 1):
            steps = (Step("zip", as_text(info.filename), position),)
            if info.is_dir() and not info.compress_size:
                continue
            if info.header_offset in overlapping:
                yield Broken(
                    steps, BrokenPicture("The member overlaps another one, as none of an archiver does.")
                )
            elif leads_out(info.filename):
                yield Broken(steps, BrokenPicture("The member's name leads out of the archive."))
            elif info.create_system == _SYSTEM_UNIX and stat.S_ISLNK(info.external_attr >> 16):
                yield Passed(steps)
            elif info.flag_bits & _ENCRYPTED:
                yield Broken(steps, UnsupportedFormat("The member is encrypted."))
            else:
                yield from _opened(archive, info, file, steps)


def _opened(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: BinaryIO, steps: tuple[Step, ...]
) -> Iterator[Member | Broken]:
    try:
        with archive.open(info) as stream:  # checks the member's own header, and unpacks nothing yet
            packed = info.compress_type in {zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
            yield Member(steps, _unpacked(file, info) if packed else cast("BinaryIO", stream))
    except NotImplementedError as error:
        yield Broken(steps, UnsupportedFormat(f"The member is packed in a way that is not read: {error}."))
    except (
        zipfile.BadZipFile,
        OSError,
        EOFError,
        RuntimeError,
        ValueError,
        struct.error,
        lzma.LZMAError,
    ) as error:
        yield Broken(steps, broken("member", error))


class _Checked(io.RawIOBase):
    """As many bytes as the directory promises, whose checksum is compared at the end."""

    def __init__(self, stream: BinaryIO, byte_count: int, checksum: int):
        super().__init__()
        self._stream = stream
        self._left = byte_count
        self._expected = checksum
        self._checksum = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into a buffer what fits. Raises BadZipFile."""
        if not self._left:
            return 0
        data = self._stream.read(min(len(buffer), self._left))
        if not data:
            raise EOFError("the member ends early")
        buffer[: len(data)] = data
        self._left -= len(data)
        self._checksum = zlib.crc32(data, self._checksum)
        if not self._left and self._checksum != self._expected:
            raise zipfile.BadZipFile("Bad CRC-32")
        return len(data)


def _unpacked(file: BinaryIO, info: zipfile.ZipInfo) -> BinaryIO:
    """Unpack bzip2 and LZMA in steps: zipfile would unpack all that 4 KiB hold at once, which can be gigabytes."""
    file.seek(info.header_offset + 26)
    name_bytes, extra_bytes = struct.unpack("<2H", file.read(4))
    start = info.header_offset + _LOCAL_BYTES + name_bytes + extra_bytes
    stream: bz2.BZ2File | lzma.LZMAFile
    if info.compress_type == zipfile.ZIP_BZIP2:
        stream = bz2.BZ2File(io.BufferedReader(Slice(file, start, info.compress_size)))
    else:
        file.seek(start + 2)
        (property_bytes, packed, dictionary_bytes) = struct.unpack("<HBL", file.read(7))
        if dictionary_bytes > _MAX_DICTIONARY_BYTES:
            raise NotImplementedError(f"LZMA with a dictionary of more than {_MAX_DICTIONARY_BYTES} bytes")
        head = 4 + property_bytes
        stream = lzma.LZMAFile(  # noqa: SIM115
            io.BufferedReader(Slice(file, start + head, info.compress_size - head)),
            format=lzma.FORMAT_RAW,
            filters=[
                {
                    "id": lzma.FILTER_LZMA1,
                    "dict_size": dictionary_bytes,
                    "lc": packed % 9,
                    "lp": packed // 9 % 5,
                    "pb": packed // 45,
                }
            ],
        )
    return io.BufferedReader(_Checked(cast("BinaryIO", stream), info.file_size, info.CRC))


def _overlapping(infos: list[zipfile.ZipInfo]) -> set[int]:
    """Where members begin that reach into the next: archives that unpack to petabytes use their bytes again."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    return {
        info.header_offset
        for info, following in pairwise(ordered)
        # A local header has a name too, and maybe more.
        if info.header_offset + _LOCAL_BYTES + info.compress_size > following.header_offset
    }


def _check_directory(file: BinaryIO, budget: Budget) -> None:
    """Count the directory's entries before zipfile makes an object of each. Raises SpentError, BrokenPicture."""
    end = file.seek(0, io.SEEK_END)
    start = file.seek(max(0, end - _LONGEST_END))
    tail = file.read()
    at = tail.rfind(_END_MAGIC)
    if at < 0 or len(tail) - at < _END.size:
        raise BrokenPicture("The archive has no directory at its end: it is not whole.")
    directory_bytes = _END.unpack_from(tail, at)[5]
    directory_end = start + at
    file.seek(max(0, directory_end - _LOCATOR_BYTES - _END64.size))
    long_end = file.read(_END64.size)
    if long_end[:4] == _END64_MAGIC:
        directory_bytes = _END64.unpack(long_end)[8]
        directory_end -= _LOCATOR_BYTES + _END64.size
    file.seek(max(0, directory_end - directory_bytes))
    left = min(directory_bytes, directory_end)
    entries = 0
    while left >= _ENTRY_BYTES and entries <= budget.members_left:
        entry = file.read(_ENTRY_BYTES)
        if len(entry) < _ENTRY_BYTES:
            break
        name_bytes, extra_bytes, comment_bytes = struct.unpack_from("<3H", entry, 28)
        beyond = name_bytes + extra_bytes + comment_bytes
        file.seek(beyond, io.SEEK_CUR)
        left -= _ENTRY_BYTES + beyond
        entries += 1
    if entries > budget.members_left:
        limit = budget.limits.max_members
        raise BrokenPicture(f"The archive brings the input to more than {limit} members.", limit=limit)
    file.seek(0)
