"""The live index under threads: readers that never wait see everything acknowledged, once, in one version."""

import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from app.index import live
from app.index.live import LiveIndex

STEPS = 6_000


@pytest.fixture(autouse=True)
def _busy_threads(monkeypatch):
    """Merges all the time, and threads that change places every few instructions."""
    monkeypatch.setattr(live, "_LEAST_MERGED", 50)
    monkeypatch.setattr(live, "_SHARE_MERGED", 1_000_000)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(interval)


@contextmanager
def readers(*searches, least=5):
    """Run each search again and again in its own thread until the block ends; then raise what failed."""
    done = threading.Event()
    failures = []
    rounds = [0] * len(searches)

    def run(number, search):
        try:
            while not done.is_set():
                search()
                rounds[number] += 1
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's own thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=each) for each in enumerate(searches)]
    for thread in threads:
        thread.start()
    try:
        yield failures
    finally:
        done.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    assert min(rounds) >= least


def single(number):
    return np.array([number], np.int64)


def scattered(number):
    """A hash of its own for each number, all bits in use."""
    return np.array([number * 0x9E3779B97F4A7C15 % 2**64], np.uint64)


def test_a_search_sees_every_acknowledged_addition_and_no_acknowledged_removal():
    index = LiveIndex.build(np.empty(0, np.uint64), np.empty(0, np.int64))
    added, doomed, removed = [0], [0], [0]  # ids below these: surely added, perhaps removed, surely removed

    def everything():
        gone, there = removed[0], added[0]
        ids = np.sort(index.within(0, 64).ids)
        perhaps_gone = doomed[0]
        assert np.all(np.diff(ids) == 1), "an id is missing or there twice"
        if len(ids):
            assert gone <= ids[0] <= perhaps_gone
            assert ids[-1] >= there - 1

    def the_newest():
        newest = added[0] - 1
        ids = index.within(int(scattered(newest)[0]), 0).ids
        assert ids.tolist() == [newest] or newest < doomed[0]

    def many():
        newest = added[0] - 1
        queries = np.concatenate([scattered(max(newest - back, 0)) for back in range(5)])
        found = index.within_many(queries, 0)
        assert newest in found.ids or newest < doomed[0]

    index.add(scattered(0), single(0))
    added[0] = 1
    with readers(everything, the_newest, many) as failures:
        for number in range(1, STEPS):
            index.add(scattered(number), single(number))
            added[0] = number + 1
            if number % 3 == 0 and number > 500:
                doomed[0] = removed[0] + 1
                index.remove(single(removed[0]))
                removed[0] += 1
            if failures:
                break
    hashes, ids = index.contents()
    assert ids.tolist() == list(range(removed[0], STEPS))
    assert np.array_equal(hashes, np.concatenate([scattered(number) for number in ids.tolist()]))


def test_an_id_that_is_rehashed_is_found_exactly_once_at_every_moment():
    index = LiveIndex.build(np.arange(300, dtype=np.uint64), np.arange(300))

    def all_of_them():
        ids = index.within(0, 64).ids
        assert np.array_equal(np.sort(ids), np.arange(300))

    def contents():
        _, ids = index.contents()
        assert np.array_equal(ids, np.arange(300))

    with readers(all_of_them, contents) as failures:
        for number in range(STEPS):
            index.add(scattered(number), single(number % 300))
            if failures:
                break
    hashes, _ = index.contents()
    expected = {number % 300: int(scattered(number)[0]) for number in range(STEPS)}
    assert hashes.tolist() == [expected[id_] for id_ in range(300)]


def test_a_batch_is_seen_whole_or_not_at_all():
    index = LiveIndex.build(np.empty(0, np.uint64), np.empty(0, np.int64))

    def whole_batches():
        assert len(index.within(0, 64)) % 10 == 0

    with readers(whole_batches, whole_batches) as failures:
        for number in range(STEPS // 10):
            ids = np.arange(10 * number, 10 * number + 10)
            index.add(ids.astype(np.uint64), ids)
            if number % 4 == 3:
                index.remove(ids - 20)
            if failures:
                break


def test_merges_asked_for_and_merges_in_the_background_lose_nothing_together():
    index = LiveIndex.build(np.empty(0, np.uint64), np.empty(0, np.int64))
    with readers(index.merge_now, least=2):
        for number in range(STEPS):
            index.add(scattered(number), single(number))
            if number % 5 == 4:
                index.remove(single(number - 2))
    index.merge_now()
    _, ids = index.contents()
    assert ids.tolist() == [number for number in range(STEPS) if number % 5 != 2]
    assert len(index) == len(ids)
