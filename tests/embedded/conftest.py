import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.embedded import EmbeddedServer
from tests.embedded.supervised import SUPERVISOR, Supervisor, copy_cluster, run_sql, socket_directory_of


@pytest.fixture
def supervise() -> Iterator[Callable[..., Supervisor]]:
    started: list[Supervisor] = []

    def start(data_dir: Path, script: str = SUPERVISOR) -> Supervisor:
        started.append(Supervisor(data_dir, script))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.kill()
        if supervisor.url:
            shutil.rmtree(socket_directory_of(supervisor.url), ignore_errors=True)


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cluster of a server that was stopped: made once, since initdb takes most of a second."""
    data_dir = tmp_path_factory.mktemp("made")
    with EmbeddedServer.start(data_dir) as server:
        run_sql(server.url, "CREATE TABLE kept AS SELECT 'before' AS word")
    return data_dir / "postgres"


@pytest.fixture(scope="session")
def shared_data_dir(tmp_path_factory: pytest.TempPathFactory, made_cluster: Path) -> Path:
    """A data directory for the tests that only start a server and leave its files in order."""
    return copy_cluster(made_cluster, tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture
def data_dir(tmp_path: Path, made_cluster: Path) -> Path:
    """A data directory of its own for a test, with a copy of that cluster."""
    return copy_cluster(made_cluster, tmp_path / "data")
