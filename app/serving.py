"""`claimprint serve`: the database, the migrations, then one or more worker processes under uvicorn."""

import ctypes
import importlib.util
import logging
import os
import resource
import secrets
import shlex
import signal
import socket
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.supervisors import Multiprocess

from app.catalog import events, keys, schema, session, workers
from app.embedded import MAX_CONNECTIONS, EmbeddedServer
from app.errors import ClaimprintError, StartupError
from app.imaging import DecodePool
from app.main import create_app
from app.settings import Settings, settings_from_environment
from app.storage import open_pictures
from app.web.metrics import SHARED_FOLDER

log = logging.getLogger(__name__)

BACKLOG = 2048
TICK_SECONDS = 0.1
PR_SET_PDEATHSIG = 1
# Of mallopt: how much free memory at the end of a heap is kept, and what gets a mapping of its own.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 32 * 1024 * 1024
BESIDE_POOL = 2  # connections that a worker may have beside its pool: the watchdog's, and a process of a job
EXAMPLE_NAME = "example.jpg"


def serve(settings: Settings, decoders: DecodePool | None = None) -> None:
    """Run the service until it is told to stop. Must be called on the main thread. Raises StartupError.

    `decoders` are those of the one worker, where they were started already.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal once more when it has shut down: unwind then, and end with status 0.
        signal.signal(number, _leave)
    raise_open_files()
    keep_freed_memory()
    if settings.allow_heic and importlib.util.find_spec("pillow_heif") is None:
        raise StartupError(
            "ALLOW_HEIC needs pillow-heif: pip install 'pillow-heif>=1.1' into this environment"
        )
    connections = settings.workers * (settings.database_pool_size + BESIDE_POOL)
    if not settings.database_url and connections > MAX_CONNECTIONS:
        raise StartupError(
            f"{settings.workers} workers may take {connections} connections, and the embedded database has"
            f" {MAX_CONNECTIONS}: set WORKERS or DATABASE_POOL_SIZE lower, or DATABASE_URL"
        )
    with ExitStack() as undo:
        # Before the database: a port in use is the commonest reason not to start.
        listening = undo.enter_context(_listen(settings))
        database: EmbeddedServer | None = None
        url = settings.database_url
        if not url:
            database = undo.enter_context(EmbeddedServer.start(settings.data_dir))
            url = database.url
        settings = settings.model_copy(update={"database_url": url, "port": listening.getsockname()[1]})
        _prepare(settings, first_key=database is not None)
        log.info("ready to listen on http://%s:%s", settings.host, settings.port)
        if settings.workers == 1:
            _Single(_config(create_app(settings, decoders)), database).run([listening])
        else:
            os.environ["DATABASE_URL"] = url
            os.environ["DATA_DIR"] = str(settings.data_dir.absolute())
            os.environ[SHARED_FOLDER] = undo.enter_context(tempfile.TemporaryDirectory(prefix="claimprint-"))
            config = _config(f"{__name__}:worker_app", workers=settings.workers)
            several = _Several(config, [listening], database)
            several.run()
            if several.broken:
                raise StartupError("a worker could not start; its log tells why")


def _leave(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one: idle connections alone could use up the usual 1024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def keep_freed_memory() -> None:
    """Keep the memory of a body for the next one: given back and taken anew it costs 2 ms a camera file."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # elsewhere than in the GNU C library it does without
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)
        libc.mallopt(M_MMAP_THRESHOLD, KEPT_BYTES)


def worker_app() -> FastAPI:
    """Make the application of one of several workers, which must not outlive the process that watches them."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise StartupError("the supervising process is gone")
    keep_freed_memory()
    return create_app(settings_from_environment())


class _Interrupted(BaseException):
    """A signal came while the database was being revived, which may take a minute."""


class _Single:
    """One worker, in a thread: this one, whose death PostgreSQL watches, is left to revive the database."""

    def __init__(self, config: uvicorn.Config, database: EmbeddedServer | None):
        self._server = uvicorn.Server(config)
        self._database = database
        self._reviving = False

    def run(self, sockets: list[socket.socket]) -> None:
        """Serve until a signal says to stop. Raises StartupError when the server ends by itself."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        serving = threading.Thread(target=self._server.run, args=(sockets,), name="server")
        serving.start()
        while serving.is_alive():
            try:
                self._reviving = not self._server.should_exit
                if self._reviving:
                    _revive(self._database)
                self._reviving = False
            except _Interrupted:
                self._reviving = False
            serving.join(TICK_SECONDS)
        if not self._server.should_exit:
            raise StartupError("the server ended by itself; its log tells why")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._server.handle_exit(number, frame)
        if self._reviving:
            raise _Interrupted


class _Several(Multiprocess):
    """Several workers; a dead one is replaced, and so is the embedded database."""

    def __init__(self, config: uvicorn.Config, sockets: list[socket.socket], database: EmbeddedServer | None):
        super().__init__(config, sockets)
        self._database = database
        self.broken = False
        """Whether it ended because a worker could not start, and not because it was told to."""

    def keep_subprocess_alive(self) -> None:
        """Look after the database, then the workers."""
        _revive(self._database)
        before = {process.pid for process in self.processes}
        told = self.should_exit.is_set()
        super().keep_subprocess_alive()
        self.broken = self.should_exit.is_set() and not told
        for pid in before - {process.pid for process in self.processes}:
            # What a dead worker last said of itself must not be taken for the present.
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _revive(database: EmbeddedServer | None) -> None:
    if database is None or database.poll() is None:
        return
    log.error("the embedded database ended with status %s; starting it again", database.poll())
    try:
        database.restart()
    except StartupError as error:
        # The next tick tries again; meanwhile requests are answered with 503.
        log.error("%s", error.message)


def _config(app: FastAPI | str, **options: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        factory=isinstance(app, str),
        access_log=False,
        log_level="info",
        server_header=False,
        # Claims portals keep connections open between claimants.
        timeout_keep_alive=30,
        timeout_graceful_shutdown=20,
        backlog=BACKLOG,
        **options,  # type: ignore[arg-type]
    )


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((settings.host, settings.port))
    except OSError as error:
        listening.close()
        raise StartupError(
            f"can't listen on {settings.host} port {settings.port}: {error.strerror}; PORT and HOST change that"
        ) from error
    listening.set_inheritable(True)
    return listening


def _prepare(settings: Settings, *, first_key: bool) -> None:
    """Migrate, tie the folder of pictures to this database, and see that somebody can call."""
    engine = session.make_engine(settings, settings.database_url)
    try:
        schema.migrate(engine)
        with engine.begin() as connection:
            tie_pictures(settings, str(workers.collection_id(connection)))
            has_key = keys.any_admin(connection)
            if not has_key and first_key:
                key = keys.create_key(connection, client_name="first", role="admin")
                events.log_event(
                    connection, actor="serve", action="key.create", subject=key[: keys.PREFIX_CHARACTERS]
                )
        if not has_key:
            _greet(settings, key if first_key else None)
    except Exception as error:
        translated = session.translated(error)
        if isinstance(translated, ClaimprintError):
            raise StartupError(translated.message) from error
        raise
    finally:
        engine.dispose()


def tie_pictures(settings: Settings, collection_id: str) -> None:
    """See that pictures can be kept, and note whose they are. Raises StartupError when they are another's."""
    pictures = open_pictures(settings)
    try:
        pictures.tie(collection_id)
    finally:
        pictures.close()


def _greet(settings: Settings, key: str | None) -> None:
    address = f"http://{settings.host}:{settings.port}"
    if key is None:
        print("No admin key exists yet: claimprint keys create --client NAME --role admin")  # noqa: T201
        return
    example = settings.data_dir / EXAMPLE_NAME
    _draw_example(example)
    file = shlex.quote(f"files=@{example.absolute()}")
    print(  # noqa: T201
        f"""
There was no admin key. This one is shown once:

    {key}

Try it with a drawn picture, and again with another claim in place of CLAIM-1:

    curl -H 'Authorization: Bearer {key}' -F {file} {address}/claims/CLAIM-1/images
""",
        flush=True,
    )


def _draw_example(path: Path) -> None:
    """Draw a picture that has something to hash, so that the first upload needs no file of one's own."""
    import numpy as np
    from PIL import Image

    coarse = np.random.default_rng(secrets.randbits(32)).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((800, 600), Image.Resampling.BICUBIC).save(path, quality=90)
