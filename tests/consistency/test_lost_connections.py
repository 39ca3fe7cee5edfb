"""A database that goes away between two statements of an upload costs no bytes and no place in the pool."""

from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, text

from app.catalog import new_images, session
from app.catalog.new_images import NewImage
from app.catalog.rows import AnyRow
from app.collection import Collection, KeypointCollection
from app.errors import Unavailable
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


def test_bytes_of_committed_images_stay_when_the_rest_of_their_upload_fails(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = Intake(
        engine=engine,
        screening=Screening(
            Collection(engine), KeypointCollection(engine), NoPictures(Journal(tmp_path / "0.jsonl")), rule()
        ),
        decoders=Drawing(),
        max_file_bytes=100,
    )
    insert_images = new_images.insert_images

    def leaving_one_out(connection: Connection, rows: list[NewImage]) -> dict[UUID, AnyRow]:
        """As if the first picture were always deleted between INSERT and SELECT."""
        return insert_images(connection, rows[1:]) if len(rows) > 1 else {}

    monkeypatch.setattr(new_images, "insert_images", leaving_one_out)
    uploads = [Upload("drawn.jpg", Picture(1, 1, member).data) for member in range(2)]
    with pytest.raises(Unavailable):
        intake.take("claim", uploads, client_id=None, labels={})
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT image_id::text FROM image")).scalars().all()
    assert len(stored) == 1
    assert not {erased.image_id for erased in of_kind(read_history(tmp_path), Erased)}.intersection(stored)
    intake.close()
