"""A real PostgreSQL for every test that asks: the embedded one, or the server of TEST_DATABASE_URL."""

import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from app.catalog import keys, schema, session
from app.decoders import decode_limits
from app.embedded import EmbeddedServer
from app.imaging.pool import DecodePool
from app.main import application
from app.parts import Parts, make_parts
from app.settings import Settings

if TYPE_CHECKING:
    from tests.object_storage import Bucket

DATA = Path(os.environ.get("CLAIMPRINT_DATA", Path(__file__).parents[2] / "shared" / "data"))


# How long an example takes says more about what else the machine does than about the code.
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of real pictures with ground truth, which is no part of the project."""
    if not DATA.is_dir():
        pytest.skip("the folder of real pictures is not here; CLAIMPRINT_DATA names it")
    return DATA


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a database on the test server; fresh ones are made beside it."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield Settings(database_url=given).database_url
        return
    with EmbeddedServer.start(tmp_path_factory.mktemp("server")) as server:
        yield server.url


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Name of a migrated, empty database to copy from."""
    name = f"template_{uuid.uuid4().hex}"
    with _admin(server_url) as admin:
        _run(admin, f"CREATE DATABASE {name}")
        engine = session.make_engine(Settings(), _sibling(server_url, name))
        schema.migrate(engine)
        engine.dispose()
        yield name
        _drop(admin, name)


@pytest.fixture
def database_url(server_url: str, template: str) -> Iterator[str]:
    """URL of a fresh, migrated database."""
    name = f"test_{uuid.uuid4().hex}"
    with _admin(server_url) as admin:
        _run(admin, f"CREATE DATABASE {name} TEMPLATE {template}")
        yield _sibling(server_url, name)
        _drop(admin, name)


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings on a fresh database and an empty folder."""
    return Settings(
        _env_file=None,  # type: ignore[call-arg]
        database_url=database_url,
        data_dir=tmp_path / "data",
        decode_processes=2,
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    """Engine on a fresh database."""
    engine = session.make_engine(settings, settings.database_url)
    yield engine
    engine.dispose()


class SharedPool(DecodePool):
    """Decoding processes that outlive the applications that use them."""

    def close(self) -> None:
        """Leave them running for the next test."""


@pytest.fixture(scope="session")
def decoders() -> Iterator[DecodePool]:
    """Decoding processes that all tests share: starting them costs a second."""
    pool = SharedPool(2, decode_limits(Settings()), max_queued=64)
    yield pool
    DecodePool.close(pool)


@pytest.fixture
def parts(settings: Settings, decoders: DecodePool) -> Iterator[Parts]:
    """The parts of one worker on a fresh database."""
    parts = make_parts(settings, decoders=decoders)
    yield parts
    parts.close()


@pytest.fixture
def make_key(engine: Engine) -> Callable[..., str]:
    """Make a key: `make_key("portal", client="portal-de")`."""

    def make(role: str, client: str = "tests") -> str:
        with engine.begin() as connection:
            return keys.create_key(connection, client_name=client, role=role)

    return make


@pytest.fixture
def client(parts: Parts, make_key: Callable[..., str]) -> Iterator[TestClient]:
    """HTTP client with an admin key on a running application."""
    with TestClient(application(parts), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {make_key('admin')}"
        yield client


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator["Bucket"]:
    """A bucket on a real server, to which the environment has the key."""
    from tests.object_storage import Bucket  # takes a second

    bucket = Bucket()
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    yield bucket
    bucket.close()


@contextmanager
def _admin(url: str) -> Iterator[Engine]:
    """Autocommit engine for CREATE and DROP DATABASE."""
    engine = create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        yield engine
    finally:
        engine.dispose()


def _run(engine: Engine, statement: str) -> None:
    with engine.connect() as connection:
        connection.execute(text(statement))


def _drop(engine: Engine, name: str) -> None:
    """Drop a database; an autovacuum that is in it belongs to the superuser and must be waited for."""
    deadline = time.monotonic() + 10
    while True:
        try:
            _run(engine, f"DROP DATABASE {name} WITH (FORCE)")
        except DBAPIError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def _sibling(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)
