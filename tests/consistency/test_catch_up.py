"""Moments that a run under load meets too rarely, arranged one step at a time."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from sqlalchemy import Connection, Engine

from app.catalog import session, stamps
from app.collection import Collection
from tests.rows import insert_rows

PATIENCE_SECONDS = 20


def test_catch_up_never_relies_on_a_read_that_began_before_it_was_asked_for(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection(engine)
    collection.rebuild()
    has_read, may_end = threading.Event(), threading.Event()
    newest = stamps.newest

    def pausing(connection: Connection) -> tuple[int, int]:
        found = newest(connection)
        if not has_read.is_set():
            has_read.set()
            may_end.wait(PATIENCE_SECONDS)
        return found

    def found_after_catching_up() -> list[int]:
        with session.autocommit(engine) as connection:
            _, ids = collection.caught_up(connection).indexes["phash"].contents()
        return list(ids.tolist())

    monkeypatch.setattr(stamps, "newest", pausing)
    with ThreadPoolExecutor() as threads:
        earlier = threads.submit(found_after_catching_up)
        assert has_read.wait(PATIENCE_SECONDS)
        committed = insert_rows(engine, 1, np.random.default_rng(1)).seqs
        later = threads.submit(found_after_catching_up)
        time.sleep(0.1)  # so that it waits for the other one; if it doesn't yet, the test proves less
        may_end.set()
        assert later.result() == committed
        assert earlier.result() in ([], committed)
