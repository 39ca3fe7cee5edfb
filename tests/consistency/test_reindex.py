"""A reindex reports what was wrong with the index, and nothing else."""

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from app.catalog import stamps
from app.collection import Collection, TableIndex
from app.collection.current import Difference
from tests.rows import insert_rows


def test_an_image_that_comes_and_goes_during_a_reindex_is_no_difference(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection(engine)
    collection.rebuild()
    load, advance_to = stamps.load, TableIndex.advance_to

    def load_just_before_an_upload(connection: Connection) -> stamps.Loaded:
        loaded = load(connection)
        insert_rows(engine, 1, np.random.default_rng(1))
        return loaded

    def advance_just_after_a_deletion(index: TableIndex, connection: Connection, last: int) -> None:
        with engine.begin() as deleting:
            deleting.execute(text("UPDATE image SET deleted_at = clock_timestamp()"))
        advance_to(index, connection, last)

    monkeypatch.setattr(stamps, "load", load_just_before_an_upload)
    monkeypatch.setattr(TableIndex, "advance_to", advance_just_after_a_deletion)
    assert collection.rebuild() == Difference(0, 0, 0)
