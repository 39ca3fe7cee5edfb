"""The members of a tar archive, plain or packed."""

import bz2
import gzip
import hashlib
import io
import lzma
import posixpath
import tarfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, cast

from app.errors import BrokenPicture, UnsupportedFormat
from app.sources.found import Step, as_text
from app.sources.limits import MIB, Budget
from app.sources.members import Broken, Member, Members, Passed, Slice, leads_out

GZIP, BZIP2, XZ = b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\x00"

_BLOCK = tarfile.BLOCKSIZE
# Names and attributes before one member; tarfile reads them whole, however long they say they are.
_MAX_HEADER_BYTES = MIB
_MAX_XZ_BYTES = 256 * MIB  # xz -9 takes 65 MiB to unpack
_PIECE = 64 * 1024
# Members whose place is kept for hard links to them: some 25 MB.
_MOST_PLACES = 100_000


def is_tar(head: bytes) -> bool:
    """Whether a file that begins like this is a plain tar archive."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def tar_members(file: BinaryIO, budget: Budget) -> Members:
    """Yield the files of a tar archive, plain or packed by gzip, bzip2 or xz, in their order.

    A hard link is the content of the member it is for, which can be read again where the archive is plain.
    Raises UnsupportedFormat for what is packed but is no archive, BrokenPicture where the archive breaks off,
    and what the standard library does.
    """
    magic = file.read(6)
    file.seek(0)
    packed = magic.startswith((GZIP, BZIP2, XZ))
    with _Bytes(_unpacked(file, magic), budget if packed else None) as stream:
        head = stream.read(_BLOCK)
        if packed and not is_tar(head):
            raise UnsupportedFormat("The packed file holds no tar archive.")
        stream.begin_again(head)
        yield from _files(stream)
        while packed and stream.read(_PIECE):
            pass  # its checksum comes last


def _files(stream: "_Bytes") -> Members:
    with stream.reading_header():  # the first one is read at once
        opened = tarfile.open(  # noqa: SIM115
            fileobj=cast("BinaryIO", stream), mode="r:", errors="surrogateescape"
        )
    with opened as archive:
        position = 0
        places = _Places()
        while (info := _next(archive, stream)) is not None:
            position += 1
            steps = (Step("tar", as_text(info.name), position),)
            archive.members = []  # type: ignore[attr-defined] # it would keep them all
            if info.isdir():
                continue
            if leads_out(info.name):
                yield Broken(steps, BrokenPicture("The member's name leads out of the archive."))
            elif info.issparse():
                yield Broken(steps, UnsupportedFormat("The member is a sparse file."))
            elif info.issym():
                yield Passed(steps)
            elif info.islnk() and stream.is_plain and (place := places.of(info.linkname)) is not None:
                places.keep(info.name, place)
                with stream.gone_back(*place) as member:
                    yield Member(steps, member)
            elif not info.isreg():
                yield Broken(steps, UnsupportedFormat("The member is a link or a device, not a file."))
            else:
                places.keep(info.name, (info.offset_data, info.size))
                with cast("BinaryIO", archive.extractfile(info)) as member:
                    yield Member(steps, member)
    # tarfile takes a header that makes no sense, and no header at all, for the end.
    if any(stream.last) or len(stream.last) < _BLOCK:
        raise BrokenPicture("The archive breaks off before its end mark.")


def _next(archive: tarfile.TarFile, stream: "_Bytes") -> tarfile.TarInfo | None:
    with stream.reading_header():
        return archive.next()


class _Places:
    """Where the contents of the last members are, by digests of their names: those may be of any length."""

    def __init__(self) -> None:
        self._places: OrderedDict[bytes, tuple[int, int]] = OrderedDict()

    def keep(self, name: str, place: tuple[int, int]) -> None:
        """Keep where a member's content begins, and how many bytes it has."""
        self._places[_digest(name)] = place
        if len(self._places) > _MOST_PLACES:
            self._places.popitem(last=False)

    def of(self, name: str) -> tuple[int, int] | None:
        """That of the last member of this name."""
        return self._places.get(_digest(name))


def _digest(name: str) -> bytes:
    return hashlib.blake2b(
        posixpath.normpath(name).encode("utf-8", "surrogateescape"), digest_size=16
    ).digest()


def _unpacked(file: BinaryIO, magic: bytes) -> BinaryIO:
    if magic.startswith(GZIP):
        return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))
    if magic.startswith(BZIP2):
        return cast("BinaryIO", bz2.BZ2File(file))
    if magic.startswith(XZ):
        return io.BufferedReader(_Xz(file))
    return file


class _Xz(io.RawIOBase):
    """Unpacks xz within a bound of memory, which `lzma.open` does not offer."""

    def __init__(self, file: BinaryIO):
        super().__init__()
        self._file = file
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into a buffer what fits. Raises LZMAError, EOFError."""
        data = b""
        while not data:
            if self._unpacker.eof:
                rest = self._unpacker.unused_data.lstrip(b"\0") or self._file.read(_PIECE).lstrip(b"\0")
                if not rest:
                    return 0
                # xz files may follow each other, as parallel packers write them.
                self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_XZ_BYTES)
                data = self._unpacker.decompress(rest, len(buffer))
                continue
            packed = self._file.read(_PIECE) if self._unpacker.needs_input else b""
            if self._unpacker.needs_input and not packed:
                raise EOFError("the packed archive ends early")
            data = self._unpacker.decompress(packed, len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Bytes(io.RawIOBase):
    """The bytes of an archive for tarfile: read forwards only, headers bounded, unpacked bytes counted."""

    def __init__(self, file: BinaryIO, budget: Budget | None):
        super().__init__()
        self._file = file
        self._budget = budget
        self._position = 0
        self._again = b""
        self._header_bytes_left: int | None = None
        self.last = b""
        """What was read last: zeros after the end mark."""

    def begin_again(self, head: bytes) -> None:
        """Take what was read so far as unread."""
        self._position = 0
        self._again = head

    @property
    def is_plain(self) -> bool:
        """Whether the archive is not packed, so that any place of it can be read."""
        return self._budget is None

    @contextmanager
    def gone_back(self, start: int, byte_count: int) -> Iterator[BinaryIO]:
        """Return what lies somewhere in a plain archive, to be read before anything else is."""
        yield cast("BinaryIO", Slice(self._file, start, byte_count))
        self._file.seek(self._position)

    @contextmanager
    def reading_header(self) -> Iterator[None]:
        """Bound what is read meanwhile."""
        self._header_bytes_left = _MAX_HEADER_BYTES
        try:
            yield
        finally:
            self._header_bytes_left = None

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """Forwards."""
        return True

    def tell(self) -> int:
        """The position in the unpacked archive."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go forwards. Raises EOFError, BrokenPicture."""
        target = self._position + offset if whence == io.SEEK_CUR else offset
        if target < self._position:
            raise BrokenPicture("The archive leads backwards.")
        if self._budget is None and not self._again:
            self._position = self._file.seek(target)
            return target
        while self._position < target:
            if not self._read(min(_PIECE, target - self._position)):
                raise EOFError("the archive ends early")
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Read as many bytes as there are. Raises BrokenPicture, SpentError."""
        if self._header_bytes_left is not None:
            self._header_bytes_left -= size
            if size < 0 or self._header_bytes_left < 0:
                raise BrokenPicture(
                    f"The header of a member has more than {_MAX_HEADER_BYTES} bytes.",
                    limit=_MAX_HEADER_BYTES,
                )
        self.last = self._read(size)
        return self.last

    def _read(self, size: int) -> bytes:
        data, self._again = self._again[:size], self._again[size:]
        while len(data) < size and (piece := self._file.read(size - len(data))):
            data += piece
        self._position += len(data)
        if self._budget is not None:
            self._budget.spend(len(data))
        return data
