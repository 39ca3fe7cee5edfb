"""The engine: how this service connects to PostgreSQL, and what it demands of it."""

import select
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import psycopg2.extensions
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import DBAPIError, DisconnectionError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.errors import DatabaseAway, StorageFull

if TYPE_CHECKING:  # it takes a tenth of a second to import, of which a process of its own has no use
    from app.settings import Settings

# Longer than any honest transaction of ours, shorter than an operator's patience with a lost lock.
IDLE_IN_TRANSACTION_MS = 10_000
# A network that swallows packets must not hold a request longer than the promised three seconds.
UNACKNOWLEDGED_MS = 2_500
PATIENT_CONNECT_SECONDS = 10
PATIENT_LOCK_MS = 3_000
DISK_FULL, CANCELED = "53100", "57014"


def make_engine(settings: "Settings", url: str) -> Engine:
    """Engine on the PostgreSQL at `url` (SQLAlchemy form), with time limits on every wait.

    Connects lazily. An ended connection is noticed before it is handed out, so that a restarted server heals by
    itself.
    """
    options = {
        "lock_timeout": settings.lock_timeout_ms,
        "statement_timeout": settings.statement_timeout_ms,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_MS,
        "timezone": "UTC",
        # Sixteen turned hashes by array need no machine code: compiling costs more than running them.
        "jit": "off",
    }
    engine = create_engine(
        url,
        connect_args=_connect_args(options, settings.database_connect_seconds),
        pool_size=settings.database_pool_size,
        max_overflow=0,
        pool_timeout=2,
        hide_parameters=True,  # errors go to the log, and values are labels and names of files
    )
    event.listen(engine, "checkout", _refuse_ended)
    return engine


def make_patient_engine(url: str) -> Engine:
    """Engine for a process of its own: reading may take long, and waiting for what others hold may not."""
    options = {"lock_timeout": PATIENT_LOCK_MS, "timezone": "UTC", "jit": "off"}
    return create_engine(
        url,
        connect_args=_connect_args(options, PATIENT_CONNECT_SECONDS),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _connect_args(options: Mapping[str, Any], connect_seconds: int) -> dict[str, Any]:
    """How to connect to the one server that is written to, with these settings of its own."""
    return {
        "connect_timeout": connect_seconds,
        "target_session_attrs": "read-write",
        "options": " ".join(f"-c {name}={value}" for name, value in options.items()),
        "application_name": "claimprint",
        "tcp_user_timeout": UNACKNOWLEDGED_MS,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
    }


def _refuse_ended(connection: Any, _record: object, _proxy: object) -> None:
    """Have the pool replace a connection that the server has ended: it left last words, or the end, to read.

    One system call, where asking the server costs a round trip at every checkout.
    """
    if connection.closed:
        raise DisconnectionError
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    if waiting.poll(0):
        raise DisconnectionError


@contextmanager
def autocommit(engine: Engine) -> Iterator[Connection]:
    """A connection from the pool on which each statement is its own transaction.

    Not by SQLAlchemy's `isolation_level`: that takes a statement to set and another one to set back, and if
    the server has died meanwhile, giving the connection back raises the driver's bare error and costs the
    pool a place for good. psycopg2's own flag only leaves out the BEGIN.
    """
    with engine.connect() as connection:
        driver = cast("psycopg2.extensions.connection", connection.connection.dbapi_connection)
        driver.autocommit = True
        try:
            yield connection
        finally:
            if not driver.closed:
                driver.autocommit = False


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection in one transaction that sees one state of the tables throughout, and changes nothing."""
    with engine.connect() as connection, connection.begin():
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        yield connection


def translated(error: Exception) -> Exception:
    """Return the domain error for a database error that is not a bug of ours, else `error` itself."""
    if isinstance(error, PoolTimeout):
        return DatabaseAway("every database connection is in use")
    if isinstance(error, DBAPIError):
        if getattr(error.orig, "pgcode", None) == DISK_FULL:
            return StorageFull("the database's disk is full")
        if isinstance(error, OperationalError) or error.connection_invalidated:
            return DatabaseAway("the database can't be reached or did not answer in time")
    return error


def told(error: Exception) -> str:
    """The class of an error and what it says; of a database error without statement, values and details."""
    if not isinstance(error, SQLAlchemyError):
        return f"{type(error).__name__}: {error}"
    first, _, _ = str(getattr(error, "orig", None) or error).partition("\n")
    return f"{type(error).__name__}: {first}"


def out_of_time(error: Exception) -> bool:
    """Whether a statement took longer than it may: it will when it is tried again."""
    return isinstance(error, DBAPIError) and getattr(error.orig, "pgcode", None) == CANCELED


def outcome_unknown(error: Exception) -> bool:
    """Whether a statement that failed so may have been committed all the same.

    An error that the server reported undid the statement; a lost connection, or a server that is going
    down (SQLSTATE class 57), tells nothing.
    """
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "pgcode", None)
    return code is None or code.startswith("57P")


def check_durability(connection: Connection) -> None:
    """Raise DatabaseAway unless a commit on this server survives its crash.

    An acknowledged upload must not vanish, so `fsync=off` and `synchronous_commit=off` are refused.
    """
    row = connection.execute(
        text("SELECT current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS commit")
    ).one()
    if row.fsync != "on":
        raise DatabaseAway("PostgreSQL runs with fsync=off: a commit would not survive a crash")
    if row.commit == "off":
        raise DatabaseAway("PostgreSQL runs with synchronous_commit=off: a commit would not survive a crash")


def identity(connection: Connection) -> tuple[int, int]:
    """Return (system identifier, timeline): which cluster this is; a restored one answers otherwise."""
    row = connection.execute(
        text(
            "SELECT (SELECT system_identifier FROM pg_control_system()) AS system,"
            " (SELECT timeline_id FROM pg_control_checkpoint()) AS timeline"
        )
    ).one()
    return int(row.system), int(row.timeline)
