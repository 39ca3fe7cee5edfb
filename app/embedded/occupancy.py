"""Who holds a data directory: a lock file, and the record by which other processes join the server."""

import errno
import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psycopg2

from app.embedded.socket_directory import DATABASE, ROLE, connect, server_url
from app.errors import StartupError

LOCK_NAME = "postgres.lock"
RECORD_NAME = "postgres.json"
# `join` holds a shared lock for some microseconds to see whether anybody holds the exclusive one.
LOCK_PATIENCE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Record:
    """Where the server listens and its process id; the inode tells a directory from a copy of it."""

    socket_directory: str
    pid: int
    device: int
    inode: int


class Occupancy:
    """The exclusive hold of one supervisor on a data directory, until `release` or the end of its process.

    The kernel drops the lock with the process, however it ends. A child forked without exec does not keep it.
    """

    def __init__(self, data_dir: Path, descriptor: int, previous: Record | None) -> None:
        self._data_dir = data_dir
        self._descriptor = descriptor
        self._previous = previous
        os.register_at_fork(after_in_child=self._close)

    @classmethod
    def take(cls, data_dir: Path) -> "Occupancy":
        """Lock `data_dir` for this process.

        Raises StartupError, with the holder's process id, when another supervisor has it.
        """
        descriptor = os.open(
            data_dir / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        try:
            deadline = time.monotonic() + LOCK_PATIENCE_SECONDS
            while not _lock(descriptor, fcntl.LOCK_EX):
                if time.monotonic() > deadline:
                    holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    raise StartupError(
                        f"the data directory {data_dir} is in use by process {holder}: its database server "
                        "runs already; stop that one, or give this one another DATA_DIR"
                    )
                time.sleep(0.01)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            previous = _read_record(data_dir)
            (data_dir / RECORD_NAME).unlink(missing_ok=True)
        except BaseException:
            os.close(descriptor)
            raise
        return cls(data_dir, descriptor, previous)

    @property
    def previous_socket_directory(self) -> Path | None:
        """Where the server of a holder that was killed listened; None for a tidy end.

        None also in a copy of a data directory, whose original may be running with that directory.
        """
        found = self._data_dir.stat()
        if self._previous is None or (self._previous.device, self._previous.inode) != (
            found.st_dev,
            found.st_ino,
        ):
            return None
        return Path(self._previous.socket_directory)

    def publish(self, socket_directory: Path, pid: int) -> None:
        """Tell other processes where the server listens; replaces the record in one step."""
        found = self._data_dir.stat()
        record = Record(str(socket_directory), pid, found.st_dev, found.st_ino)
        draft = self._data_dir / f"{RECORD_NAME}.draft"
        draft.write_text(json.dumps(asdict(record)) + "\n", encoding="utf-8")
        draft.replace(self._data_dir / RECORD_NAME)

    def release(self) -> None:
        """Let the next supervisor have the directory. The lock file stays: removing it would race."""
        if self._descriptor >= 0:
            (self._data_dir / RECORD_NAME).unlink(missing_ok=True)
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def join(data_dir: Path, *, timeout_seconds: float = 10.0) -> str | None:
    """The SQLAlchemy URL of the server that runs on `data_dir` now, or None when no supervisor holds it.

    While its holder is still starting (or restarting) the server, waits up to `timeout_seconds`; StartupError
    after that, or when the directory may not be read.
    """
    try:
        descriptor = os.open(data_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise StartupError(
            f"can't tell whether a server runs on the data directory {data_dir}: {error}"
        ) from error
    try:
        deadline = time.monotonic() + timeout_seconds
        while not _lock(descriptor, fcntl.LOCK_SH):
            record = _read_record(data_dir)
            if record is not None and _answers(Path(record.socket_directory)):
                return server_url(Path(record.socket_directory))
            if time.monotonic() > deadline:
                raise StartupError(
                    f"the server on the data directory {data_dir} did not become ready within "
                    f"{timeout_seconds:g} s: see its log there, or try again"
                )
            time.sleep(0.01)
        return None
    finally:
        os.close(descriptor)


def _answers(socket_directory: Path) -> bool:
    """Whether the service's database can be used: a record may be older than its holder."""
    try:
        connection = connect(socket_directory, role=ROLE, database=DATABASE)
    except psycopg2.OperationalError:
        return False
    connection.close()
    return True


def _lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.EWOULDBLOCK:
            raise
        return False
    return True


def _read_record(data_dir: Path) -> Record | None:
    """The record, None when there is none or a crash of the machine left only part of it."""
    with suppress(FileNotFoundError, ValueError, TypeError):
        fields: dict[str, Any] = json.loads((data_dir / RECORD_NAME).read_text(encoding="utf-8"))
        return Record(**fields)
    return None
