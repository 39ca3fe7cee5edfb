"""Every engine against the plain NumPy scan."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.index import bktree, multi_index, scan
from app.index import engine as engines
from app.index.adaptive import Adaptive
from app.index.bktree import BKTree
from app.index.engines import ENGINES as ENGINES_BY_NAME
from app.index.live import LiveIndex
from app.index.multi_index import MultiIndex, bands_of
from app.index.scan import Scan
from app.settings import Settings
from tests.index.drawn import EDGES, collections, noise, random_hashes, shuffled_ids
from tests.index.kinds import ENGINES, BushyTree, ThreeBands

RADII = range(65)


def plain_scan(hashes, ids, query, radius):
    """The rows (distance, id) within the radius, nearest first: one expression, no cleverness."""
    distances = np.bitwise_count(hashes ^ np.uint64(query))
    return sorted((int(d), int(i)) for d, i in zip(distances, ids, strict=True) if d <= radius)


def rows(neighbours):
    ordered = neighbours.nearest_first()
    assert (ordered.ids.dtype, ordered.distances.dtype) == (np.int64, np.uint8)
    return list(zip(ordered.distances.tolist(), ordered.ids.tolist(), strict=True))


def assert_equals_plain_scan(engine, hashes, ids, queries, radii=RADII):
    index = engine.build(hashes, ids)
    assert len(index) == len(hashes)
    for query in queries:
        distances = np.bitwise_count(hashes ^ np.uint64(query))
        for radius in radii:
            found = index.within(query, radius).nearest_first()
            expected = np.flatnonzero(distances <= radius)
            order = np.lexsort((ids[expected], distances[expected]))
            assert np.array_equal(found.ids, ids[expected][order]), (query, radius)
            assert np.array_equal(found.distances, distances[expected][order]), (query, radius)


@pytest.mark.parametrize("engine", ENGINES)
@given(collections())
def test_every_engine_finds_what_a_plain_scan_finds_at_every_radius(engine, collection):
    hashes, ids, queries = collection
    index = engine.build(hashes, ids)
    for query in queries:
        for radius in RADII:
            assert rows(index.within(query, radius)) == plain_scan(hashes, ids, query, radius)


@pytest.mark.parametrize("engine", ENGINES)
@given(collections(), st.integers(0, 64))
def test_many_queries_at_once_find_what_each_finds_alone(engine, collection, radius):
    hashes, ids, queries = collection
    index = engine.build(hashes, ids)
    found = index.within_many(np.array(queries, np.uint64), radius)
    assert np.all(np.diff(found.queries) >= 0)
    found = found.nearest_first()
    expected = [
        (number, distance, id_)
        for number, query in enumerate(queries)
        for distance, id_ in plain_scan(hashes, ids, query, radius)
    ]
    assert (
        list(zip(found.queries.tolist(), found.distances.tolist(), found.ids.tolist(), strict=True))
        == expected
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("size", [0, 1, 2, 63, 64, 65, BKTree.leaf_size, BKTree.leaf_size + 1, 30_000])
def test_random_hashes_with_the_edges_of_the_range_are_found_at_every_radius(engine, size):
    hashes = random_hashes(size)
    hashes[: len(EDGES)] = EDGES[:size]
    queries = [0, 2**64 - 1, 2**63, *(hashes[:2] ^ np.uint64(0x8001)).tolist()]
    assert_equals_plain_scan(engine, hashes, shuffled_ids(size), queries)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_hundred_thousand_copies_of_one_hash_are_all_found(engine):
    ids = shuffled_ids(100_000)
    index = engine.build(np.full(100_000, 2**63 + 5, np.uint64), ids)
    assert len(index.within(2**63 + 5 + 8, 0)) == 0
    for radius in (1, 2, 64):
        found = index.within(2**63 + 5 + 8, radius).nearest_first()
        assert np.array_equal(found.ids, np.sort(ids))
        assert np.all(found.distances == 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("bits", [1, 3, 8])
def test_hashes_clustered_within_a_few_bits_are_found_at_every_radius(engine, bits):
    centre = np.uint64(0x8F3C_19A2_7750_E1D4)
    hashes = centre ^ noise(20_000, bits)
    queries = [int(centre), int(hashes[5]), int(centre ^ np.uint64(2**64 - 1)), int(hashes[9]) ^ 0b1011]
    assert_equals_plain_scan(engine, hashes, shuffled_ids(len(hashes)), queries)


@pytest.mark.parametrize("bits", [0, 1, 4, 64])
def test_tables_of_three_bands_find_what_a_plain_scan_finds_at_every_radius(bits):
    hashes = np.concatenate((np.array(EDGES, np.uint64), random_hashes(3_000)))
    if bits < 64:  # so many about each of a few
        hashes = np.repeat(hashes[:20], 100) ^ (noise(2_000, bits) if bits else np.uint64(0))
    queries = [int(hashes[-1]), int(hashes[-1]) ^ 0x8000_0100_0001, 0, 2**64 - 1]
    assert_equals_plain_scan(ThreeBands, hashes, shuffled_ids(len(hashes)), queries)


@pytest.mark.parametrize("engine", ENGINES)
def test_hashes_of_one_weight_are_found_at_every_radius(engine):
    order = np.argsort(np.random.default_rng(3).random((20_000, 64)), axis=1)[:, :32].astype(np.uint64)
    hashes = np.bitwise_or.reduce(np.uint64(1) << order, axis=1)
    assert_equals_plain_scan(
        engine, hashes, shuffled_ids(len(hashes)), [0, int(hashes[7]), int(hashes[8]) ^ 3]
    )


def test_a_chain_deeper_than_the_tree_may_be_is_found_all_the_same():
    hashes = np.uint64(1) << np.arange(64, dtype=np.uint64)  # each two bits from each: a level takes off one
    index = BushyTree.build(hashes, np.arange(64))
    assert len(index.nodes) == 24
    assert_equals_plain_scan(BushyTree, hashes, np.arange(64), [0, 1, 2**63, 2**64 - 1])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("room", [1, 100, 5_000])
def test_a_batch_whose_answers_outgrow_their_room_is_answered_in_full(engine, room, monkeypatch):
    monkeypatch.setattr(engines, "_MOST_ROOM_AT_FIRST", room)
    hashes, ids = random_hashes(2_000), shuffled_ids(2_000)
    hashes[:1_000] = hashes[0]
    index = engine.build(hashes, ids)
    queries = hashes[990:1_010]
    found = index.within_many(queries, 20).nearest_first()
    for number, query in enumerate(queries):
        mine = found.queries == number
        alone = index.within(query, 20).nearest_first()
        assert np.array_equal(found.ids[mine], alone.ids)
        assert np.array_equal(found.distances[mine], alone.distances)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_answer_one_longer_or_shorter_than_its_room_is_whole(engine, monkeypatch):
    index = engine.build(np.full(70, 5, np.uint64), np.arange(70))
    for room in (68, 69, 70, 71, 139, 140, 141):
        monkeypatch.setattr(engines, "_MOST_ROOM_AT_FIRST", room)
        monkeypatch.setattr(engines, "_LEAST_ROOM", room)
        assert np.array_equal(np.sort(index.within(5, 0).ids), np.arange(70))
        found = index.within_many(np.full(2, 5, np.uint64), 0).nearest_first()
        assert np.array_equal(found.ids, np.tile(np.arange(70), 2))
        assert np.array_equal(found.queries, np.repeat([0, 1], 70))


@pytest.mark.parametrize("engine", ENGINES)
def test_no_queries_have_no_neighbours(engine):
    index = engine.build(random_hashes(10), np.arange(10))
    assert len(index.within_many(np.empty(0, np.uint64), 64)) == 0


@pytest.mark.parametrize("engine", [Scan, BKTree])
def test_an_id_that_occurs_twice_is_found_twice(engine):
    index = engine.build(np.array([3, 7], np.uint64), np.array([1, 1]))
    assert rows(index.within(3, 1)) == [(0, 1), (1, 1)]


@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_keeps_what_it_was_built_from_when_the_caller_goes_on_writing(engine):
    hashes, ids = random_hashes(1_000), shuffled_ids(1_000)
    index = engine.build(hashes, ids)
    expected = rows(index.within(int(hashes[0]), 25))
    hashes[:] = 0
    ids[:] = 0
    assert rows(index.within(random_hashes(1)[0], 25)) == expected


@pytest.mark.parametrize("engine", ENGINES)
def test_read_only_and_strided_arrays_are_taken(engine):
    table = np.zeros(500, np.dtype([("id", np.int64), ("hash", np.uint64)]))
    table["hash"], table["id"] = random_hashes(500), np.arange(500)
    table.flags.writeable = False
    index = engine.build(table["hash"], table["id"])
    found = index.within_many(table["hash"], 0)
    assert np.array_equal(found.ids, np.arange(500))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("max_distance", [-1, 65, 2.5, 10**30])
def test_a_max_distance_outside_0_to_64_is_refused(engine, max_distance):
    index = engine.build(random_hashes(3), np.arange(3))
    with pytest.raises(ValueError, match=r"max_distance .* from 0 to 64"):
        index.within(0, max_distance)
    with pytest.raises(ValueError, match=r"max_distance .* from 0 to 64"):
        index.within_many(random_hashes(2), max_distance)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("query", [-1, 2**64, 0.5, np.int64(-5), float("inf"), float("nan"), None])
def test_a_hash_outside_64_bits_is_refused(engine, query):
    index = engine.build(random_hashes(3), np.arange(3))
    with pytest.raises(ValueError, match="from 0 to 2\\*\\*64 - 1"):
        index.within(query, 5)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("query", [2**64 - 1, np.uint64(2**64 - 1), np.int64(0), np.uint8(0)])
def test_a_hash_may_be_any_kind_of_whole_number(engine, query):
    index = engine.build(np.array([0, 2**64 - 1], np.uint64), np.array([4, 5]))
    assert rows(index.within(query, 0)) == [(0, 5 if query else 4)]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("hashes", "ids"),
    [
        (np.zeros(3, np.int64), np.zeros(3, np.int64)),
        (np.zeros(3, ">u8"), np.zeros(3, np.int64)),
        (np.zeros((1, 3), np.uint64), np.zeros((1, 3), np.int64)),
        (np.zeros(3, np.uint64), np.zeros(3, np.uint64)),
        (np.zeros(3, np.uint64), np.zeros(2, np.int64)),
        (np.zeros(3, np.uint64), np.zeros(3)),
    ],
)
def test_arrays_of_another_type_or_length_are_refused(engine, hashes, ids):
    with pytest.raises(ValueError, match=r"must be u?int64"):
        engine.build(hashes, ids)


@pytest.mark.parametrize("engine", ENGINES)
def test_queries_of_another_type_are_refused(engine):
    with pytest.raises(ValueError, match="must be uint64"):
        engine.build(random_hashes(3), np.arange(3)).within_many(np.zeros(3, np.int64), 5)


def test_a_tree_takes_at_most_24_bytes_a_hash():
    hashes = random_hashes(150_000)
    tree = BKTree.build(hashes, np.arange(len(hashes)))
    assert 16 * len(hashes) < tree.nbytes <= 20 * len(hashes)
    live = LiveIndex.build(hashes, np.arange(len(hashes)), engine=BKTree)
    assert live.nbytes <= 24 * len(hashes)


@pytest.mark.parametrize("size", [300_000, 3_000_000])
def test_a_multi_index_takes_at_most_56_bytes_a_hash_and_40_million_in_all(size):
    hashes = random_hashes(size)
    live = LiveIndex.build(hashes, np.arange(size), engine=MultiIndex)
    assert live.nbytes <= 56 * size + 40_000_000


def test_the_setting_names_every_engine():
    assert set(ENGINES_BY_NAME) == set(get_args(Settings.model_fields["index_engine"].annotation))


def clustered_in_one_band(count):
    """Hashes that differ in a few bits only: each key of most bands stands for all of them."""
    return random_hashes(count) & np.uint64(0xFFFF)


@pytest.mark.parametrize("make", [clustered_in_one_band, random_hashes])
def test_the_adaptive_engine_is_exact_where_keys_tell_much_and_where_they_tell_nothing(make):
    hashes = make(100_000)
    index = Adaptive.build(hashes, np.arange(len(hashes)))
    for radius in (0, 3, 9, 20, 40):
        query = int(hashes[7]) ^ 0x21
        found = index.within(query, radius)
        assert len(found) == np.count_nonzero(np.bitwise_count(hashes ^ np.uint64(query)) <= radius)


@pytest.mark.parametrize(
    ("make", "radius", "by_tables"),
    [
        (random_hashes, 4, True),
        (random_hashes, 8, True),
        (random_hashes, 20, False),
        (clustered_in_one_band, 3, False),
    ],
)
def test_a_search_goes_the_cheaper_way(make, radius, by_tables):
    hashes = make(100_000)
    index = Adaptive.build(hashes, np.arange(len(hashes)))
    # What the other way would read is wrecked.
    (index.rearranged if by_tables else index.tables.in_order)[:] = np.uint64(0x123456789ABCDEF)
    for query in (hashes[:20] ^ np.uint64(0x21)).tolist():
        expected = np.count_nonzero(np.bitwise_count(hashes ^ np.uint64(query)) <= radius)
        assert len(index.within(query, radius)) == expected


def test_bits_that_say_nearly_the_same_are_put_into_different_bands():
    hashes = random_hashes(10_000)
    seldom = np.bitwise_and.reduce([random_hashes(10_000, seed) for seed in range(1, 6)])
    pairs = [(bit, bit + 31) for bit in range(0, 24, 2)]
    for one, other in pairs:
        hashes &= ~(np.uint64(1) << np.uint64(other))
        hashes |= ((hashes >> np.uint64(one) ^ seldom >> np.uint64(other)) & np.uint64(1)) << np.uint64(other)
    for count in (3, 4):
        bands = bands_of(hashes, count)
        assert sorted(bit for band in bands for bit in band) == list(range(64))
        assert not any({one, other} <= set(band) for band in bands for one, other in pairs)


@pytest.mark.parametrize("engine", [MultiIndex, Adaptive])
@pytest.mark.parametrize(("bands_at_most", "bands"), [(3, 3), (4, 4)])
def test_few_hashes_have_as_many_bands_as_there_may_be(engine, bands_at_most, bands):
    kind = type("Kind", (engine,), {"bands_at_most": bands_at_most})
    assert kind.build(random_hashes(10_000), np.arange(10_000)).tables.bands == bands


def refuse(*_):
    raise AssertionError("not this way")


@pytest.mark.parametrize(
    ("engine", "module", "names"),
    [
        (Scan, scan, ("_search", "_search_many")),
        (BKTree, bktree, ("_search", "_search_many")),
        (Adaptive, multi_index, ("_search", "_search_many")),
    ],
)
def test_searches_keep_the_gil_while_they_are_short_and_find_little(engine, module, names, monkeypatch):
    hashes = random_hashes(100_000)
    few, many = hashes[:8], hashes[:300]
    ids = np.arange(len(hashes))
    for index in engine.build(hashes, ids), LiveIndex.build(hashes, ids, engine=engine):
        with monkeypatch.context() as patched:
            for name in names:
                patched.setattr(module, name, refuse)
            assert len(index.within(int(few[0]), 10)) == 1
            assert len(index.within_many(few, 10)) == 8
        with monkeypatch.context() as patched:
            for name in names:
                patched.setattr(module, f"{name}_briefly", refuse)
            assert len(index.within_many(many, 10)) == 300
            assert len(index.within(int(few[0]), 32)) > 40_000


@pytest.mark.parametrize("build", [Adaptive.build, LiveIndex.build])
def test_an_answer_that_outgrows_its_room_takes_a_second_search_only(build, monkeypatch):
    hashes = random_hashes(10_000)
    hashes[:300] = 5
    index = build(hashes, np.arange(len(hashes)))
    searches = []
    search = multi_index._search_briefly
    monkeypatch.setattr(
        multi_index, "_search_briefly", lambda *given: searches.append(given) or search(*given)
    )
    assert len(index.within(5, 4)) == 300
    assert len(searches) == 2
