"""The embedded server: one PostgreSQL, a direct child of the process that starts it."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_AUTOCOMMIT
from psycopg2.extensions import connection as Connection  # noqa: N812 - psycopg2 names its class in lower case

from app.embedded import socket_directory
from app.embedded.account import Account, account_for
from app.embedded.binaries import Binaries, installed_binaries, public_copy
from app.embedded.cluster import SUPERUSER, cluster_owner, make_cluster, open_cluster, path_of
from app.embedded.occupancy import Occupancy
from app.embedded.processes import launch
from app.errors import StartupError

LOG_NAME = "postgres.log"
MAX_LOG_BYTES = 10_000_000
LOG_LINES_IN_ERROR = 15
POLL_SECONDS = 0.01

MAX_CONNECTIONS = 200
"""That a service may take."""

# On the command line, so that they hold for every cluster, whatever its postgresql.conf says.
SETTINGS = {
    "listen_addresses": "",
    "port": str(socket_directory.PORT),
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
    "max_connections": str(MAX_CONNECTIONS + 20),  # some for the command line, and for who looks
    "shared_buffers": "128MB",
    # A container's /dev/shm has 64 MB, and the machine two cores: no parallel queries, no I/O workers.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_destination": "stderr",
    "logging_collector": "off",
    "cluster_name": "claimprint",
}


class EmbeddedServer:
    """A running PostgreSQL 18 with a database `claimprint`, on a Unix socket only.

    `start` makes one. It ends with `stop`, with its `with` block, and with the process that started it, even
    one that is killed. The superuser `postgres` is reached through the same socket.
    """

    def __init__(
        self,
        data_dir: Path,
        *,
        occupancy: Occupancy,
        binaries: Binaries,
        account: Account,
        sockets: Path,
        log: FileIO,
    ) -> None:
        self._data_dir = data_dir
        self._occupancy = occupancy
        self._binaries = binaries
        self._account = account
        self._sockets = sockets
        self._log = log
        self._supervisor = os.getpid()
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls, data_dir: Path, *, log: Callable[[str], object] | None = None, timeout_seconds: float = 60.0
    ) -> Self:
        """Start the server on `data_dir` and wait until it answers; the first start makes the cluster.

        Call it on the main thread: the server dies with the thread that started it. `log` gets a sentence for
        each step that takes time. Raises StartupError when another server has the directory, or this one does
        not answer within `timeout_seconds`; the message ends with the last lines of `data_dir/postgres.log`.
        """
        _require_main_thread()
        with contextlib.ExitStack() as undo:
            try:
                server = cls._prepare(data_dir.absolute(), log or (lambda _: None), undo)
                undo.callback(server.stop)
                server._run(timeout_seconds)  # noqa: SLF001 - its own
            except OSError as error:
                raise StartupError(
                    f"can't start a database in the data directory {data_dir}: {error}"
                ) from error
            undo.pop_all()
        return server

    @classmethod
    def _prepare(cls, data_dir: Path, say: Callable[[str], object], undo: contextlib.ExitStack) -> Self:
        """Everything that is done once for the life of a server; `undo` gets what failure must give back."""
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupancy = Occupancy.take(data_dir)
        undo.callback(occupancy.release)
        owner = cluster_owner(data_dir)
        account = account_for(owner)
        binaries = installed_binaries()
        if account.uid != os.geteuid():
            binaries = public_copy(binaries)
        log = undo.enter_context(_open_log(data_dir / LOG_NAME))
        if owner is None:
            say(f"making the database in {data_dir}")
            with _log_in_errors(data_dir / LOG_NAME):
                make_cluster(data_dir, binaries, account, log.fileno())
        sockets = occupancy.previous_socket_directory
        if sockets is None or not socket_directory.is_usable(sockets, account):
            sockets = socket_directory.make_socket_directory(account)
            undo.callback(socket_directory.remove, sockets)
        return cls(
            data_dir, occupancy=occupancy, binaries=binaries, account=account, sockets=sockets, log=log
        )

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database `claimprint`; the same for the life of this object."""
        return socket_directory.server_url(self._sockets)

    @property
    def pid(self) -> int | None:
        """Process id of PostgreSQL's postmaster; None after `stop`."""
        return None if self._process is None else self._process.pid

    def poll(self) -> int | None:
        """None while the server runs, then its exit status (negative: the signal that killed it)."""
        if self._process is None:
            return 0
        return self._process.poll()

    def restart(self, *, timeout_seconds: float = 60.0) -> None:
        """Bring a server that has died back, at the same URL; does nothing while it runs.

        Call it on the main thread. Waits for what is left of the old one to end. Raises StartupError when the
        new one does not answer within `timeout_seconds` (then it may be tried again), or after `stop`.
        """
        _require_main_thread()
        if self._log.closed:
            raise StartupError("this database server was stopped: start another")
        if self._process is not None and self._process.poll() is None:
            return
        try:
            self._run(timeout_seconds)
        except OSError as error:
            raise StartupError(f"can't restart the database in {self._data_dir}: {error}") from error

    def stop(self, *, timeout_seconds: float = 20.0) -> None:
        """End the server and give the data directory free; does nothing when called again, or in a fork.

        Open transactions are rolled back. A server that hasn't ended after `timeout_seconds` is told to go
        without its last checkpoint, which costs the next start some time and loses nothing.
        """
        if os.getpid() != self._supervisor or self._log.closed:
            return
        try:
            self._end_process(timeout_seconds)
        finally:
            socket_directory.remove(self._sockets)
            self._log.close()
            self._occupancy.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self, timeout_seconds: float) -> None:
        """Start PostgreSQL on the cluster and return once it answers and has the service's database."""
        directory = open_cluster(self._data_dir, self._account)
        try:
            socket_directory.restore(self._sockets, self._account)
            with _log_in_errors(self._data_dir / LOG_NAME):
                self._process = launch(
                    [
                        str(self._binaries.postgres),
                        f"-D{path_of(directory)}",
                        f"-cunix_socket_directories={self._sockets}",
                        *(f"-c{name}={value}" for name, value in SETTINGS.items()),
                    ],
                    account=self._account,
                    death_signal=signal.SIGINT,  # a fast shutdown
                    directory=directory,
                    output=self._log.fileno(),
                )
                try:
                    self._wait_until_ready(self._process, timeout_seconds)
                except BaseException:
                    self._end_process(timeout_seconds=0)
                    raise
        finally:
            os.close(directory)  # from here on PostgreSQL's processes alone hold its lock
        self._occupancy.publish(self._sockets, self._process.pid)

    def _wait_until_ready(self, process: "subprocess.Popen[bytes]", timeout_seconds: float) -> None:
        deadline = time.monotonic() + timeout_seconds
        while True:
            try:
                connection = socket_directory.connect(self._sockets, role=SUPERUSER, database="postgres")
                break
            except psycopg2.OperationalError as error:
                if process.poll() is not None:
                    raise StartupError(f"PostgreSQL ended with status {process.returncode}") from None
                if time.monotonic() > deadline:
                    message = f"PostgreSQL did not answer within {timeout_seconds:g} s ({str(error).strip()})"
                    raise StartupError(message) from error
            time.sleep(POLL_SECONDS)
        with contextlib.closing(connection):
            _provide_database(connection)

    def _end_process(self, timeout_seconds: float) -> None:
        """Fast shutdown, then immediate shutdown, then SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, seconds in (
            (signal.SIGINT, timeout_seconds),
            (signal.SIGQUIT, 5.0),
            (signal.SIGKILL, None),
        ):
            process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
                return


def _provide_database(connection: Connection) -> None:
    """Make the service's role and database, unless they are there.

    The role may make databases: a test run makes its own.
    """
    role, database = socket_directory.ROLE, socket_directory.DATABASE
    connection.set_isolation_level(ISOLATION_LEVEL_AUTOCOMMIT)
    with connection.cursor() as cursor:
        cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", (role,))
        if cursor.rowcount == 0:
            cursor.execute(f"CREATE ROLE {role} LOGIN CREATEDB")
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (database,))
        if cursor.rowcount == 0:
            cursor.execute(f"CREATE DATABASE {database} OWNER {role}")


def _require_main_thread() -> None:
    if threading.current_thread() is not threading.main_thread():
        raise StartupError(
            "the database server must be started on the main thread: it dies with the thread that starts it"
        )


def _open_log(path: Path) -> FileIO:
    """The log, open for appending; a large one of earlier runs is put aside first (one is kept)."""
    with contextlib.suppress(FileNotFoundError):
        if path.stat().st_size > MAX_LOG_BYTES:
            path.replace(path.with_name(f"{path.name}.1"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return FileIO(os.open(path, flags, 0o600), "a")


@contextlib.contextmanager
def _log_in_errors(path: Path) -> Iterator[None]:
    """Append what the log got meanwhile to the message of a StartupError raised in the block."""
    position = path.stat().st_size
    try:
        yield
    except StartupError as error:
        with path.open("rb") as file:
            file.seek(position)
            lines = file.read().decode("utf-8", "replace").splitlines()
        shown = "".join(f"\n  {line}" for line in lines[-LOG_LINES_IN_ERROR:])
        raise StartupError(f"{error.message}; the end of {path}:{shown or ' (nothing)'}") from error
