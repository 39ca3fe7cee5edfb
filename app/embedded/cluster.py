"""The cluster: PostgreSQL's files in `data_dir/postgres`, made once, used by one server at a time.

The cluster is handled through a descriptor of its directory. It carries a lock (flock) and is inherited by
every PostgreSQL process, so the lock is free exactly when the last of them has ended, whatever became of the
process that started them. Process ids are used again, and not relied upon.
"""

import contextlib
import fcntl
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

from app.embedded.account import Account
from app.embedded.binaries import MAJOR_VERSION, Binaries
from app.embedded.processes import launch, servers_in
from app.errors import StartupError

NAME = "postgres"
DRAFT_NAME = "postgres.draft"
SUPERUSER = "postgres"
INITDB_SECONDS = 120
# A fast shutdown ends with a checkpoint: 128 MB of buffers on a slow disk.
SHUTDOWN_SECONDS = 20.0
ORPHAN_SECONDS = 1.0


def cluster_owner(data_dir: Path) -> Account | None:
    """Who owns the cluster's files; None when there is no cluster yet.

    Raises StartupError for one of another major version, and for a directory that holds something else.
    """
    directory = data_dir / NAME
    try:
        version = (directory / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if directory.is_dir() and any(directory.iterdir()):
            raise StartupError(
                f"{directory} holds something that is no PostgreSQL cluster: move it away"
            ) from None
        return None
    if version != MAJOR_VERSION:
        raise StartupError(
            f"the cluster in {directory} was made by PostgreSQL {version}, this is {MAJOR_VERSION}: "
            "move its data with pg_dump and pg_restore"
        )
    found = directory.stat()
    return Account(found.st_uid, found.st_gid)


def make_cluster(data_dir: Path, binaries: Binaries, account: Account, log: int) -> None:
    """Make an empty cluster: under another name first, so that a kill leaves none that is half made.

    UTF-8, sorted by code point, with data checksums. Raises StartupError when initdb fails.
    """
    parent = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _discard_draft(parent)
        os.mkdir(DRAFT_NAME, 0o700, dir_fd=parent)
        directory = _open_directory(DRAFT_NAME, parent)
        try:
            if account.uid != os.geteuid():
                os.fchown(directory, account.uid, account.gid)
            _lock(directory)
            _run_initdb(binaries, account, directory, log)
        finally:
            os.close(directory)
        os.rename(DRAFT_NAME, NAME, src_dir_fd=parent, dst_dir_fd=parent)
        os.fsync(parent)
    finally:
        os.close(parent)


def open_cluster(data_dir: Path, account: Account) -> int:
    """A locked descriptor of the cluster's directory, with nothing of an earlier server left in its way.

    Waits for one that is shutting down. Raises StartupError while a server that isn't ours runs there.
    """
    parent = os.open(data_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        directory = _open_directory(NAME, parent)
    finally:
        os.close(parent)
    try:
        if os.fstat(directory).st_uid != account.uid:
            _give_tree(directory, account)
        _wait_for_lock(directory, account, data_dir)
        _remove_stale_pid_file(directory, account, data_dir)
    except BaseException:
        os.close(directory)
        raise
    return directory


def path_of(directory: int) -> str:
    """A path to the directory behind an inherited descriptor, of any length, under parents of any mode."""
    return f"/proc/self/fd/{directory}"


def _run_initdb(binaries: Binaries, account: Account, directory: int, log: int) -> None:
    command = [
        str(binaries.initdb),
        f"--pgdata={path_of(directory)}",
        f"--username={SUPERUSER}",
        "--auth=trust",  # whoever can open the socket's directory is the owner; there is no TCP
        "--encoding=UTF8",
        "--locale=C",
        "--locale-provider=builtin",
        "--builtin-locale=C.UTF-8",
        "--data-checksums",
        "--no-instructions",
    ]
    process = launch(
        command,
        account=account,
        death_signal=signal.SIGKILL,
        directory=directory,
        output=log,
        named=True,
    )
    try:
        status = process.wait(INITDB_SECONDS)
    except subprocess.TimeoutExpired:
        raise StartupError(
            f"initdb did not end within {INITDB_SECONDS} s: is the disk of DATA_DIR very slow?"
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if status != 0:
        raise StartupError(f"initdb failed with status {status}{_missing_name(account)}")


def _missing_name(account: Account) -> str:
    """The likely reason, for an account that the user database doesn't know."""
    try:
        pwd.getpwuid(account.uid)
    except KeyError:
        return f" (/etc/passwd has no user id {account.uid}: add a line for it, or set DATABASE_URL)"
    return ""


def _discard_draft(parent: int) -> None:
    """Remove what an interrupted initdb left, once the last of its processes is gone."""
    try:
        draft = _open_directory(DRAFT_NAME, parent)
    except FileNotFoundError:
        return
    try:
        if not _lock(draft, SHUTDOWN_SECONDS):
            raise StartupError(
                f"processes of an interrupted initdb still run in {DRAFT_NAME}: end them first"
            )
        shutil.rmtree(DRAFT_NAME, dir_fd=parent)
    finally:
        os.close(draft)


def _wait_for_lock(directory: int, account: Account, data_dir: Path) -> None:
    if _lock(directory, ORPHAN_SECONDS):
        return
    strays = servers_in(directory, account)
    if _recorded_pid(directory) not in strays:
        # Their postmaster is gone, and would have ended them with this very signal: a long query doesn't
        # notice by itself. With a postmaster they are left to its orderly shutdown.
        for pid in strays:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGQUIT)
    if not _lock(directory, SHUTDOWN_SECONDS):
        raise StartupError(
            f"PostgreSQL processes of an earlier run still work in {data_dir / NAME} after "
            f"{SHUTDOWN_SECONDS:.0f} s (process ids {servers_in(directory, account)}): "
            "wait for them to end, or end them"
        )


def _remove_stale_pid_file(directory: int, account: Account, data_dir: Path) -> None:
    """Remove `postmaster.pid` of a server that was killed.

    PostgreSQL refuses to start while the process id in it is in use, and after a restart of a container it
    often is, by something else. With the lock held no server of ours runs. One that somebody started by hand
    would, so that is looked for.
    """
    if _recorded_pid(directory) is None:
        return
    running = servers_in(directory, account)
    if running:
        raise StartupError(
            f"a PostgreSQL server that this service did not start runs on {data_dir / NAME} "
            f"(process ids {running}): stop it first"
        )
    os.unlink("postmaster.pid", dir_fd=directory)


def _recorded_pid(directory: int) -> int | None:
    try:
        descriptor = os.open("postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return None
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        first = file.readline().strip().removeprefix("-")
    return int(first) if first.isdecimal() else 0


def _give_tree(directory: int, account: Account) -> None:
    """Give a root-owned cluster (restored from a backup, say) to the account that will run it."""
    for _, names, files, here in os.fwalk(dir_fd=directory):
        for name in (*names, *files):
            os.chown(name, account.uid, account.gid, dir_fd=here, follow_symlinks=False)
    os.fchown(directory, account.uid, account.gid)


def _open_directory(name: str, parent: int) -> int:
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)


def _lock(directory: int, patience_seconds: float = 0.0) -> bool:
    """Whether the lock was free, or became so in time."""
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        else:
            return True
