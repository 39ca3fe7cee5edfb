"""The index over sets of hashes under threads: readers beside writers and merges see whole sets, each once."""

import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from app.index import sets
from app.index.sets import SetIndex
from tests.index.drawn import random_hashes
from tests.index.set_models import as_queries, holds, put


class Background:
    """Readers in threads of their own; what fails in them is raised at the end."""

    def __init__(self):
        self.done, self.failures, self.rounds = threading.Event(), [], []

    def run(self, number, search):
        try:
            while not self.done.is_set():
                search()
                self.rounds[number] += 1
        except BaseException as failure:  # noqa: BLE001 - raised by the test, in its own thread
            self.failures.append(failure)

    @contextmanager
    def searching(self, *searches, least=5):
        self.rounds = [0] * len(searches)
        threads = [threading.Thread(target=self.run, args=each) for each in enumerate(searches)]
        for thread in threads:
            thread.start()
        try:
            yield self.failures
        finally:
            self.done.set()
            for thread in threads:
                thread.join()
        if self.failures:
            raise self.failures[0]
        assert min(self.rounds) >= least


@pytest.fixture
def background(monkeypatch):
    """Readers beside merges all the time, by writers and others, and threads that change places often."""
    monkeypatch.setattr(sets, "_TAIL", 300)
    monkeypatch.setattr(sets, "_WRITERS_OWN", 2000)
    swaps, merge = [], SetIndex._merge
    monkeypatch.setattr(SetIndex, "_merge", lambda *arguments: swaps.append(1) or merge(*arguments))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield Background()
    sys.setswitchinterval(interval)
    assert swaps


def one(number):
    return np.array([number], np.int64)


def test_a_reader_finds_whatever_was_put_before_beside_merges(background):
    hashes = random_hashes(24_000).reshape(-1, 20)
    index = SetIndex()
    put_below, gone_below = [0], [0]  # surely put, surely removed; the next may be on its way
    random = np.random.default_rng(0)

    def search():
        gone, newest = gone_below[0], put_below[0]
        if not newest:
            return
        asked = random.integers(0, newest, 5)
        asked[0] = newest - 1
        found = index.near(np.ascontiguousarray(hashes[asked, 7]), 0)
        perhaps_gone = gone_below[0] + 1
        assert np.all(found.places == 7)
        assert len(found) == np.isin(asked, found.owners).sum(), "a set is there twice"
        assert not np.any(found.owners < gone)
        assert set(asked[asked >= perhaps_gone].tolist()) <= set(found.owners.tolist())

    with background.searching(search) as failures:
        for number, own in enumerate(hashes):
            index.put(one(number), own, one(20))
            put_below[0] = number + 1
            if number % 3 == 0 and number > 100:
                index.remove(one(gone_below[0]))
                gone_below[0] += 1
            if failures:
                break
        index.close()
    gone = gone_below[0]
    contents, owners, _ = index.contents()
    assert np.array_equal(contents, hashes[gone:].ravel())
    assert np.array_equal(owners, np.arange(gone, len(hashes)).repeat(20))


def test_sets_that_are_replaced_are_there_once_and_whole_at_every_moment(background):
    index = SetIndex.build(np.full(2000, 0, np.uint64), np.arange(100), np.full(100, 20))
    places = np.tile(np.arange(20), 100)

    def search():
        found = index.near(as_queries([0]), 64)
        assert np.array_equal(found.owners, np.arange(100).repeat(20))
        assert np.array_equal(found.places, places)
        # Two are replaced together, and all hashes of a set are alike.
        distances = found.distances.reshape(50, 40)
        assert np.all(distances == distances[:, :1])

    def contents():
        hashes, owners, _ = index.contents()
        assert np.array_equal(owners, np.arange(100).repeat(20))
        assert np.all(hashes.reshape(50, 40) == hashes[::40, None])

    with background.searching(search, contents) as failures:
        for number in range(1500):
            first = number * 34 % 100
            own = np.full(40, (1 << number % 64) - 1, np.uint64)
            index.put(np.array([first + 1, first]), own, np.array([20, 20]))
            if failures:
                break
        index.close()


def test_merges_asked_for_and_merges_in_the_background_lose_nothing_together(background):
    index, model = SetIndex(), {}
    with background.searching(index.merge_now, least=2):
        for number in range(1000):
            own = {number % 300: random_hashes(20, seed=number).tolist()}
            put(index, own)
            model |= own
            if number % 5 == 4:
                index.remove(one(number % 300 - 2))
                model.pop(number % 300 - 2, None)
    index.close()
    holds(index, model)
    index.merge_now()
    assert len(index._version.parts) == 1
    holds(index, model)
