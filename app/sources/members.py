"""What the readers of containers hand on: members, and what they could not read."""

import errno
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from app.errors import BrokenPicture, ClaimprintError, StorageFull, Unavailable
from app.sources.found import Step

_LONGEST_REASON = 160
_FULL = {errno.ENOSPC, errno.EDQUOT}
# What the system says about this one file; all else is about the disk, the network or this process.
_OF_THE_FILE = {
    errno.ENOENT,
    errno.ENOTDIR,
    errno.EACCES,
    errno.EPERM,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EILSEQ,
    errno.EISDIR,
    errno.ENXIO,
    errno.ENODEV,
    errno.EINVAL,
    errno.EOVERFLOW,
    errno.EFBIG,
}
_DRIVE = re.compile(r"[A-Za-z]:")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a container. `stream` is read before the next member is asked for; it need not be seekable."""

    steps: tuple[Step, ...]
    """More than one where a message lies in a message: both are parsed at once."""
    stream: BinaryIO
    is_picture: bool = False
    """Whether its container says that it is a picture, as a media type does."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A member that can't be read; without steps, the rest of the container."""

    steps: tuple[Step, ...]
    error: ClaimprintError


@dataclass(frozen=True, slots=True)
class Passed:
    """A member that holds no file: a link, a text, a spacer on a page."""

    steps: tuple[Step, ...]


Members = Iterator[Member | Broken | Passed]


def broken(thing: str, error: Exception) -> ClaimprintError:
    """Return the error to report for what opening `thing` raised, or a parser on its bytes."""
    if isinstance(error, ClaimprintError):
        return error
    if isinstance(error, OSError) and error.errno in _FULL:
        return StorageFull("the disk for temporary files is full")
    if isinstance(error, OSError) and is_away(error):
        return Unavailable(f"the {thing} can't be read now: {error.strerror}")
    text = str((isinstance(error, OSError) and error.strerror) or error)
    said = "".join(c if c.isprintable() else " " for c in text).strip(" .")
    return BrokenPicture(f"The {thing} can't be read: {said[:_LONGEST_REASON] or type(error).__name__}.")


def is_away(error: OSError) -> bool:
    """Whether what was to be read may be there another time, as on a share that went away.

    Parsers raise OSError without a number, for the bytes that they read.

    >>> is_away(OSError(errno.EIO, "")), is_away(OSError(errno.ENOENT, "")), is_away(OSError("no bzip2"))
    (True, False, False)
    """
    return error.errno is not None and error.errno not in _OF_THE_FILE


def leads_out(name: str) -> bool:
    """Whether a member's name is absolute or climbs out of its archive.

    >>> leads_out("inbox/7.msg"), leads_out("../7.msg"), leads_out("C:\\\\7.msg")
    (False, True, True)
    """
    parts = name.replace("\\", "/").split("/")
    return parts[0] == "" or ".." in parts or _DRIVE.match(name) is not None


class Slice(io.RawIOBase):
    """A range of another file, for which that file is moved at each read."""

    def __init__(self, file: BinaryIO, start: int, byte_count: int):
        super().__init__()
        self._file = file
        self._position = start
        self._end = start + byte_count

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: "memoryview | bytearray") -> int:  # type: ignore[override]
        """Read into a buffer what fits."""
        self._file.seek(self._position)
        data = self._file.read(min(len(buffer), self._end - self._position))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
