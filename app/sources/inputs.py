"""What the user names -> the files to read: on this machine, or behind an address."""

import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from app.errors import InvalidValue, Unavailable
from app.sources.found import Refused, as_text, is_hidden, last_part
from app.sources.members import broken, is_away
from app.sources.objects import SCHEMES, Store, objects_at

_ADDRESS = re.compile(r"([a-z][a-z0-9]*)://", re.IGNORECASE)


class Input(Protocol):
    """One file or object, not opened yet."""

    @property
    def name(self) -> str:
        """Its whole path or its address, as text: the same from wherever it is named, and no other input's."""

    @property
    def byte_count(self) -> int:
        """Its size when it was listed."""

    @property
    def stamp(self) -> str:
        """A text that changes when the content may have."""

    @property
    def folder_name(self) -> str:
        """The name of the folder that it lies in, as text; empty at the root."""

    @property
    def file_name(self) -> str:
        """Its name without folders, as text."""

    def open(self) -> BinaryIO:
        """Return it as a seekable file. Raises BrokenPicture, Unavailable."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on this machine."""

    path: str
    """As the system has it: bytes that are not UTF-8 are surrogates."""
    byte_count: int
    stamp: str
    """Size and time of the last change in nanoseconds."""

    @property
    def name(self) -> str:
        """The whole path, as text: `.` is another folder in the next run."""
        return as_text(os.path.abspath(self.path))  # noqa: PTH100 - links are left as they are

    @property
    def folder_name(self) -> str:
        """The name of the folder that it really lies in."""
        return folder_name(self.path)

    @property
    def file_name(self) -> str:
        """Its name as text."""
        return as_text(os.path.basename(self.path))  # noqa: PTH119 - a str that may hold surrogates

    def open(self) -> BinaryIO:
        """Return the file, buffered. Raises BrokenPicture, Unavailable."""
        try:
            return Path(self.path).open("rb")
        except OSError as error:
            raise broken("file", error) from error


def inputs_of(names: Iterable[str]) -> Iterator[Input | Refused]:
    """Yield the files that are named: files, folders with all that is in them, and addresses of objects.

    A folder is read in the order of its names and to any depth, but for what `is_hidden`. One that
    links lead to twice is read once. An address, s3://, gs:// or az://, is that of one object, or of all whose
    names begin with it and a slash; file:// is a path. What does not exist, is empty, or can't be read gives a
    Refused, whose error is Unavailable where trying again may help, and the rest goes on.

    Raises InvalidValue for an address that makes no sense or that may not be read, Unavailable where a store
    can't be reached, or refuses what it gave before: then nothing is known of what it holds.
    """
    stores: dict[str, Store] = {}
    for name in names:
        scheme = _ADDRESS.match(name)
        if scheme is None:
            yield from _at_path(name)
        elif scheme[1].lower() == "file":
            yield from _at_path(_path_of(name))
        elif scheme[1].lower() in SCHEMES:
            yield from objects_at(name, stores)
        else:
            known = ", ".join(f"{scheme}://" for scheme in ("file", *SCHEMES))
            raise InvalidValue(f"{as_text(name)} is no address that can be read ({known})", field="input")


def name_of(item: Input | Refused) -> str:
    """Of an input, also of one that was refused."""
    return item.path if isinstance(item, Refused) else item.name


def folder_name(path: str) -> str:
    """Return the name of the folder that a file really lies in, links followed; unlike Path a loop is no error."""
    return as_text(last_part(os.path.dirname(os.path.realpath(path))).strip("/"))  # noqa: PTH120


def _path_of(address: str) -> str:
    parts = urlsplit(address)
    if parts.netloc not in {"", "localhost"} or parts.query or parts.fragment:
        raise InvalidValue(f"{as_text(address)} is no address of a file on this machine", field="input")
    return unquote(parts.path, errors="surrogateescape")


def _at_path(path: str) -> Iterator[Input | Refused]:
    try:
        status = os.stat(path)  # noqa: PTH116 - Path would refuse to be empty in its own way
    except OSError as error:
        yield _unread(path, "file", error)
        return
    except ValueError:
        yield _refused(path, "The file can't be read: its name holds a NUL character.")
        return
    if not stat.S_ISDIR(status.st_mode):
        yield _file(path, status)
        return
    anything = False
    for found in _in_folder(path, {(status.st_dev, status.st_ino)}):
        anything = True
        yield found
    if not anything:
        yield _refused(path, "The folder has no files in it, other than hidden ones.")


def _in_folder(folder: str, visited: set[tuple[int, int]]) -> Iterator[Input | Refused]:
    """Files of a folder, with those of its folders after them; by hand, as deep trees end Python's recursion."""
    waiting = [folder]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if not is_hidden(entry.name))
        except OSError as error:
            yield _unread(folder, "folder", error)
            continue
        folders = []
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118
            try:
                status = os.stat(path)  # noqa: PTH116
            except OSError as error:
                yield _unread(path, "file", error)
                continue
            if not stat.S_ISDIR(status.st_mode):
                yield _file(path, status)
            elif (status.st_dev, status.st_ino) not in visited:
                visited.add((status.st_dev, status.st_ino))
                folders.append(path)
        waiting += reversed(folders)


def _file(path: str, status: os.stat_result) -> Input | Refused:
    if not stat.S_ISREG(status.st_mode):
        return _refused(path, "The file is not a plain one.")
    return LocalFile(path, status.st_size, f"{status.st_size}-{status.st_mtime_ns}")


def _unread(path: str, thing: str, error: OSError) -> Refused:
    if is_away(error):
        return Refused(as_text(path), (), Unavailable(f"the {thing} can't be read now: {error.strerror}"))
    return _refused(path, f"The {thing} can't be read: {error.strerror}.")


def _refused(path: str, message: str) -> Refused:
    return Refused(as_text(path), (), InvalidValue(message, field="input"))
