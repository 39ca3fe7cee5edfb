"""Self-joins: every pair once, as comparing each with each finds them, in steps of any size."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.index import pairs
from app.index.adaptive import Adaptive
from app.index.live import LiveIndex
from app.index.multi_index import MultiIndex
from app.index.wide import WideScan
from tests.index.drawn import EDGES, collections, noise, random_hashes, shuffled_ids
from tests.index.kinds import ENGINES, EagerBands, ThreeBands

RADII = [0, 1, 2, 3, 7, 8, 20, 40, 63, 64]


class JoinedByTables(EagerBands):
    """Never compares each with each."""

    def _join(self, radius):
        if self.tables.bands:
            yield from pairs.join_by_tables(self.addresses, self.tables.bands, radius)
        else:
            yield from super()._join(radius)


class JoinedByThreeTables(JoinedByTables, ThreeBands):
    """As millions of hashes are joined."""


KINDS = [*ENGINES, JoinedByTables]


@pytest.fixture(params=[(1 << 16, 4_000_000), (64, 1), (70, 3)])
def steps(request, monkeypatch):
    """Steps as they are, the smallest that there may be, and some between."""
    room, work = request.param
    monkeypatch.setattr(pairs, "_ROOM", room)
    monkeypatch.setattr(pairs, "_WORK", work)


def plain_pairs(hashes, ids, radius):
    """All rows (left, right, distance), sorted: every two compared, in one expression."""
    distances = np.bitwise_count(hashes[:, None] ^ hashes)
    return sorted(
        (int(ids[one]), int(ids[two]), int(distances[one, two]))
        for one, two in np.argwhere((distances <= radius) & (ids[:, None] < ids))
    )


def joined(index, radius):
    found = []
    done = 0.0
    for step in index.pairs_within(radius):
        assert (step.left.dtype, step.right.dtype, step.distances.dtype) == (np.int64, np.int64, np.uint8)
        assert done <= step.done <= 1
        done = step.done
        found += zip(step.left.tolist(), step.right.tolist(), step.distances.tolist(), strict=True)
    assert done == 1 or not len(index)
    return sorted(found)


@pytest.mark.parametrize("engine", KINDS)
@given(collections(), st.integers(0, 64))
def test_a_join_finds_each_pair_once(engine, collection, radius):
    hashes, ids, _ = collection
    if engine is JoinedByTables and len(hashes) < 2:
        return
    assert joined(engine.build(hashes, ids), radius) == plain_pairs(hashes, ids, radius)


@pytest.mark.parametrize("engine", KINDS)
@pytest.mark.parametrize("radius", RADII)
@pytest.mark.usefixtures("steps")
def test_a_join_in_steps_of_any_size_finds_each_pair_once(engine, radius):
    centre = np.uint64(0x8F3C_19A2_7750_E1D4)
    hashes = np.concatenate(
        [random_hashes(60), np.array(EDGES, np.uint64), centre ^ noise(60, 4), np.full(20, centre)]
    )
    ids = shuffled_ids(len(hashes))
    assert joined(engine.build(hashes, ids), radius) == plain_pairs(hashes, ids, radius)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 65, 127, 128, 2047, 2048, 2049, 2111])
def test_a_join_of_any_size_finds_each_pair_once(engine, size):
    hashes, ids = random_hashes(size), shuffled_ids(size)
    hashes[size // 2 :] = hashes[: size - size // 2] ^ noise(size - size // 2, 3)
    assert joined(engine.build(hashes, ids), 6) == plain_pairs(hashes, ids, 6)


@pytest.mark.parametrize("engine", [MultiIndex, Adaptive, LiveIndex, JoinedByThreeTables])
@pytest.mark.parametrize("radius", [0, 3, 10, 12])
def test_a_join_of_many_finds_what_searches_find(engine, radius):
    hashes, ids = random_hashes(40_000), np.arange(40_000)
    hashes[20_000:] = hashes[:20_000] ^ noise(20_000, 12)
    index = engine.build(hashes, ids)
    found = index.within_many(hashes, radius)
    once = found.queries < found.ids
    expected = zip(
        found.queries[once].tolist(), found.ids[once].tolist(), found.distances[once].tolist(), strict=True
    )
    assert joined(index, radius) == sorted(expected)


def test_a_join_goes_the_cheaper_way():
    few_keys = random_hashes(40_000) & np.uint64(0xFFFF)  # each of most keys stands for all hashes
    for hashes, radius, by_tables in (
        (random_hashes(40_000), 6, True),
        (random_hashes(40_000), 20, False),
        (few_keys, 6, False),
    ):
        index = Adaptive.build(hashes, np.arange(len(hashes)))
        assert pairs.tables_pay(index.addresses, index.tables.bands, len(hashes), radius) == by_tables


def test_copies_by_the_hundred_thousand_are_streamed_and_a_join_can_be_cancelled():
    index = Adaptive.build(np.full(100_000, 2**63 + 5, np.uint64), np.arange(100_000))
    steps = index.pairs_within(0)
    found = [next(steps) for _ in range(50)]
    steps.close()
    left, right = (np.concatenate([getattr(step, side) for step in found]) for side in ("left", "right"))
    assert len(left) > 1_000_000
    assert np.all(left < right)
    assert len(np.unique(left << np.int64(32) | right)) == len(left)


def test_a_live_index_joins_what_lives_at_the_moment_of_the_call():
    hashes = np.arange(300, dtype=np.uint64)
    index = LiveIndex.build(hashes[:200], np.arange(200))
    index.add(hashes[200:], np.arange(200, 300))
    index.remove(np.arange(50, 250))
    steps = index.pairs_within(64)
    index.remove(np.arange(300))
    found = [step for step in steps if len(step)]
    assert set(np.concatenate([step.left for step in found])) == {*range(50), *range(250, 299)}


def test_wide_codes_are_joined_to_128_bits():
    codes = np.array([[0, 0], [0, 1], [2**64 - 1, 2**64 - 1], [2**63, 1]], np.uint64)
    index = WideScan.build(codes, np.array([7, 5, 6, 8]))
    assert joined(index, 2) == [(5, 7, 1), (5, 8, 1), (7, 8, 2)]
    assert len(joined(index, 128)) == 6


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("max_distance", [-1, 65, 2.5])
def test_a_distance_outside_0_to_64_is_refused_at_once(engine, max_distance):
    index = engine.build(random_hashes(3), np.arange(3))
    with pytest.raises(ValueError, match="from 0 to 64"):
        index.pairs_within(max_distance)


@pytest.mark.parametrize("engine", [JoinedByTables, JoinedByThreeTables])
def test_a_join_by_tables_gets_on_steadily(engine, monkeypatch):
    monkeypatch.setattr(pairs, "_WORK", 20_000)
    done = [step.done for step in engine.build(random_hashes(60_000), np.arange(60_000)).pairs_within(4)]
    assert done == sorted(done)
    assert done[-1] == 1
    assert max(np.diff([0, *done])) < 0.2
