"""A database that goes away between two statements of an upload costs no bytes and no place in the pool."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError, OperationalError

from app.catalog import images, new_images, session
from app.catalog.new_images import NewImage
from app.catalog.rows import AnyRow
from app.collection import Collection, KeypointCollection
from app.errors import DatabaseAway, Unavailable
from app.ingest import Intake, Upload
from app.screening import Screening
from tests.consistency.history import Erased, Journal, of_kind, read_history
from tests.consistency.worker import Drawing, NoPictures
from tests.consistency.workload import Picture
from tests.rules import rule


def end_backend(engine: Engine, connection: Connection) -> None:
    """End the server's side of a connection, as its death would."""
    pid = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    with engine.connect() as other:
        other.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


def test_a_connection_that_is_lost_in_use_is_replaced_in_the_pool(engine: Engine) -> None:
    for _ in range(engine.pool.size() + 1):  # type: ignore[attr-defined]
        for _ in range(2):  # the second time the connection has a mode to be set back
            with session.autocommit(engine) as connection:
                connection.execute(text("SELECT 1"))
        with session.autocommit(engine) as connection:
            end_backend(engine, connection)


@pytest.fixture
def intake(engine: Engine, tmp_path: Path) -> Iterator[Intake]:
    """An intake that writes down what is erased."""
    pictures = NoPictures(Journal(tmp_path / "0.jsonl"))
    screening = Screening(Collection(engine), KeypointCollection(engine), pictures, rule())
    intake = Intake(engine=engine, screening=screening, decoders=Drawing(), max_file_bytes=100)
    yield intake
    intake.close()


def stored_and_erased(engine: Engine, folder: Path) -> tuple[set[str], set[str]]:
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT image_id::text FROM image")).scalars().all()
    return set(stored), {str(erased.image_id) for erased in of_kind(read_history(folder), Erased)}


def test_bytes_of_committed_images_stay_when_the_rest_of_their_upload_fails(
    intake: Intake, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_images = new_images.insert_images

    def leaving_one_out(connection: Connection, rows: list[NewImage]) -> dict[UUID, AnyRow]:
        """As if the first picture were always deleted between INSERT and SELECT."""
        return insert_images(connection, rows[1:]) if len(rows) > 1 else {}

    monkeypatch.setattr(new_images, "insert_images", leaving_one_out)
    uploads = [Upload("drawn.jpg", Picture(1, 1, member).data) for member in range(2)]
    with pytest.raises(Unavailable):
        intake.take("claim", uploads, client_id=None, labels={})
    stored, erased = stored_and_erased(engine, tmp_path)
    assert len(stored) == 1
    assert erased
    assert not erased & stored


LOST = OperationalError("INSERT", {}, Exception("server closed the connection"))


@pytest.mark.parametrize("error", [LOST, KeyboardInterrupt()], ids=["away for good", "interrupted"])
def test_bytes_stay_where_a_commit_may_have_gone_through_unseen(
    intake: Intake, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    insert_images = new_images.insert_images
    failures = iter([error, DatabaseAway("it stays away")])

    def failing(connection: Connection, rows: list[NewImage]) -> dict[UUID, AnyRow]:
        """Once with all committed, then with nothing done."""
        failure = next(failures)
        if failure is error:
            insert_images(connection, rows)
        raise failure

    def twice(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except OperationalError:
            return call()

    monkeypatch.setattr(new_images, "insert_images", failing)
    arrival = intake.receive("claim", Upload("drawn.jpg", Picture(1, 1, 0).data))
    with pytest.raises((DatabaseAway, KeyboardInterrupt)):
        intake.store([arrival], attempt=twice)
    stored, erased = stored_and_erased(engine, tmp_path)
    assert stored == {str(arrival.image_id)}
    assert not erased


def test_bytes_of_new_images_stay_when_those_stored_before_can_not_be_read(
    intake: Intake, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploads = [Upload("drawn.jpg", Picture(1, 1, member).data) for member in range(2)]
    intake.take("claim", uploads[:1], client_id=None, labels={})

    def failing(connection: Connection, _keys: object) -> dict[object, AnyRow]:
        connection.execute(text("SELECT 1 / 0"))
        raise AssertionError

    monkeypatch.setattr(images, "live_by_bytes", failing)
    with pytest.raises(DBAPIError, match="division by zero"):
        intake.take("claim", uploads, client_id=None, labels={})
    stored, erased = stored_and_erased(engine, tmp_path)
    assert len(stored) == 2
    assert len(erased) == 1  # of the replay
    assert not erased & stored
