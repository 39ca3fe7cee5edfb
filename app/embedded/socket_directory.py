"""The directory of the server's Unix socket: short, 0700, the only gate to the database."""

import os
import re
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

import psycopg2
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 names its class in lower case

from app.embedded.account import Account
from app.errors import StartupError

DATABASE = ROLE = "claimprint"
PORT = 5432  # only a part of the socket's name; written into the URL so that PGPORT can't change it
SOCKET_NAME = f".s.PGSQL.{PORT}"
MAX_SOCKET_BYTES = 107  # sockaddr_un.sun_path without its final zero, unix(7)
# In a connection string a comma separates hosts and a percent sign escapes; the rest is caution.
PLAIN_PATH = re.compile(r"/[A-Za-z0-9_./-]*")


def server_url(socket_directory: Path) -> str:
    """The SQLAlchemy URL of the service's database behind that directory.

    >>> server_url(Path("/tmp/claimprint-x"))
    'postgresql+psycopg2://claimprint@/claimprint?host=/tmp/claimprint-x&port=5432'
    """
    return f"postgresql+psycopg2://{ROLE}@/{DATABASE}?host={socket_directory}&port={PORT}"


def connect(socket_directory: Path, *, role: str, database: str) -> Connection:
    """A connection through that directory; psycopg2.OperationalError while the server does not answer."""
    return psycopg2.connect(
        host=str(socket_directory), port=PORT, user=role, dbname=database, connect_timeout=5
    )


def make_socket_directory(account: Account) -> Path:
    """A new empty directory of mode 0700 that belongs to `account`, under the temporary directory.

    Not under XDG_RUNTIME_DIR: that goes away when the user logs out, with the server still running.
    Raises StartupError when no temporary directory is short enough, and open to `account`.
    """
    refusals = []
    for base in dict.fromkeys(Path(name).resolve() for name in (tempfile.gettempdir(), "/tmp", "/var/tmp")):  # noqa: S108
        if len(os.fsencode(base / "claimprint-12345678" / SOCKET_NAME)) > MAX_SOCKET_BYTES:
            refusals.append(f"{base}: too long for a socket's path ({MAX_SOCKET_BYTES} bytes)")
        elif not PLAIN_PATH.fullmatch(str(base)):
            refusals.append(f"{base}: has special characters in its name")
        elif account.uid != os.geteuid() and not _is_open_to_all(base):
            refusals.append(f"{base}: closed to user id {account.uid}")
        else:
            try:
                directory = Path(tempfile.mkdtemp(prefix="claimprint-", dir=base))
            except OSError as error:
                refusals.append(f"{base}: {error.strerror}")
                continue
            os.chown(directory, account.uid, account.gid)
            return directory
    raise StartupError("no place for the database's socket (" + "; ".join(refusals) + "): set TMPDIR to one")


def is_usable(directory: Path, account: Account) -> bool:
    """Whether `directory`, made by an earlier run, still is a directory of `account`, closed to others."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    return (
        stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) == 0o700 and found.st_uid == account.uid
    )


def restore(directory: Path, account: Account) -> None:
    """Make `directory` ready for a new server, at the same path, whatever became of it meanwhile.

    Removes what a killed server left: its lock file names a process id that may be somebody else's by now.
    Raises OSError when somebody else has taken the path.
    """
    if not is_usable(directory, account):
        directory.mkdir(mode=0o700)
        os.chown(directory, account.uid, account.gid)
    _clear(directory)


def remove(directory: Path) -> None:
    """Remove the directory of a server that has ended."""
    with suppress(OSError):  # somebody else's file in it: leave both
        _clear(directory)
        directory.rmdir()


def _clear(directory: Path) -> None:
    for name in (SOCKET_NAME, f"{SOCKET_NAME}.lock"):
        (directory / name).unlink(missing_ok=True)


def _is_open_to_all(directory: Path) -> bool:
    return all(path.stat().st_mode & stat.S_IXOTH for path in (directory, *directory.parents))
