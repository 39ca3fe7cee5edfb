import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from app.catalog import session
from app.catalog.watchdog import Watchdog
from app.errors import DatabaseAway
from tests.pictures import drawn, encoded
from tests.service import Service, run


def postgres_below(pid: int) -> list[int]:
    """The postmaster started by a service, and its backends."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True, check=True)
    rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
    masters = [row[0] for row in rows if row[1] == str(pid) and row[2].startswith("postgres")]
    return [int(row[0]) for row in rows if row[0] in masters or row[1] in masters]


@pytest.mark.long
def test_frozen_database_is_503_within_three_seconds_for_requests_under_way_and_heals(tmp_path: Path) -> None:
    service = Service(tmp_path / "data").wait_until_ready()
    made = run(tmp_path / "data", "keys", "create", "--client", "t", "--role", "admin")
    service.key = made.stdout.splitlines()[-1]
    image = service.upload_patiently("KD-1", encoded(drawn(1)))["images"][0]
    frozen = postgres_below(service.process.pid)
    assert frozen
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        for path in ("/readyz", f"/images/{image['image_id']}", f"/similar?image_id={image['image_id']}"):
            started = time.monotonic()
            assert service.request("GET", path)[0] == 503
            assert time.monotonic() - started < 3.5
    finally:
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
    again = service.upload_patiently("KD-2", encoded(drawn(1)))
    assert again["images"][0]["verdict"] == "same_file"
    assert service.stop() == 0


@pytest.mark.long
def test_service_ends_while_its_database_is_frozen(tmp_path: Path) -> None:
    service = Service(tmp_path / "data").wait_until_ready()
    frozen = postgres_below(service.process.pid)
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(1)
        service.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 45
        while service.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.2)
        assert service.process.poll() is not None
    finally:
        for pid in frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        service.stop(signal.SIGKILL)


@pytest.fixture
def watchdog(engine: Engine) -> Iterator[Watchdog]:
    watchdog = Watchdog(engine)
    yield watchdog
    watchdog.stop()


@pytest.fixture
def waiting(engine: Engine, watchdog: Watchdog) -> "Future[None]":
    """A statement that waits on a connection of the pool, for a minute."""

    def wait() -> None:
        with session.autocommit(engine) as connection:
            connection.execute(text("SELECT pg_sleep(60)"))

    ended: Future[None] = Future()

    def run_it() -> None:
        try:
            ended.set_result(wait())
        except Exception as error:  # noqa: BLE001 - handed on
            ended.set_exception(error)

    threading.Thread(target=run_it, daemon=True).start()
    time.sleep(1.5)  # the probe has answered since
    return ended


def assert_freed(waiting: "Future[None]", engine: Engine) -> None:
    failure = waiting.exception(timeout=3)
    assert isinstance(failure, Exception)
    assert isinstance(session.translated(failure), DatabaseAway)
    with session.autocommit(engine) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_hanging_up_frees_whoever_waits_on_a_connection(
    waiting: "Future[None]", watchdog: Watchdog, engine: Engine
) -> None:
    watchdog.hang_up()
    assert_freed(waiting, engine)


def test_lost_probe_leaves_alone_who_connected_later(
    waiting: "Future[None]", watchdog: Watchdog, engine: Engine
) -> None:
    watchdog.hang_up(before=time.monotonic() - 60)
    assert not waiting.done()
    watchdog.hang_up(before=time.monotonic())
    assert_freed(waiting, engine)


def test_lost_probe_frees_whoever_waits_on_a_connection(waiting: "Future[None]", engine: Engine) -> None:
    """A server that has died ends the probe; a frozen process of it holds on to the others."""
    with session.autocommit(engine) as connection:
        ended = connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND query = 'SELECT 1' AND pid <> pg_backend_pid()"
            )
        ).all()
    assert ended
    assert_freed(waiting, engine)
