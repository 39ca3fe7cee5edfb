"""What the index over sets of hashes finds, against the plain comparison."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.index import set_tables, sets
from app.index.set_contents import SetContents
from app.index.set_tables import SetTables, joined
from app.index.set_tail import SetTail
from app.index.sets import SetIndex
from tests.index.drawn import EDGES, collections, noise, random_hashes
from tests.index.set_models import (
    RADII,
    as_arrays,
    as_queries,
    built,
    cut,
    holds,
    plain_near,
    put,
    rows,
    tags_of,
)


@pytest.fixture
def _tables_for_everything(monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", 1)
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 1e12)


# Nothing, some bits, or all of each of up to four queries.
masks = st.lists(
    st.one_of(st.just(0), st.integers(0, 2**64 - 1), st.sampled_from(EDGES)), min_size=4, max_size=4
)


@pytest.mark.usefixtures("_tables_for_everything")
@settings(max_examples=100, deadline=None)
@given(collections(), st.lists(st.integers(0, 12), max_size=8), st.sampled_from(RADII), masks)
def test_tables_find_what_comparing_finds(collection, counts, radius, sure):
    hashes, _, queries = collection
    model = cut(hashes, counts)
    found = built(model).near(as_queries(queries), radius, as_queries(sure[: len(queries)]))
    assert rows(found) == plain_near(model, queries, radius, sure)
    assert rows(built(model).near(as_queries(queries), radius)) == plain_near(model, queries, radius)


def extended(tables, contents):
    *_, [made] = joined(tables, tables.alike(contents))
    return made


@settings(max_examples=60, deadline=None)
@given(collections(), st.integers(1, 6), st.sampled_from(RADII))
def test_extended_tables_find_what_comparing_finds(collection, each, radius):
    hashes, _, queries = collection
    model = cut(hashes, [each] * (len(hashes) // each))
    tables, index = None, SetIndex()
    for owner, own in model.items():
        if len(own):
            codes, owners, counts = as_arrays({owner: own})
            one = SetContents(codes, tags_of({owner: own}), owners, counts)
            tables = SetTables.build(one) if tables is None else extended(tables, one)
    if tables is not None:
        index = SetIndex([tables])
    assert rows(index.near(as_queries(queries), radius)) == plain_near(model, queries, radius)
    holds(index, model)


@pytest.mark.parametrize("kind", ["random", "near each other", "in one band", "copies", "equal"])
def test_tables_are_extended_by_later_sets_alone_that_leave_their_keys(kind, monkeypatch):
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 1e12)
    hashes, tags = many(kind), np.arange(30_000).astype(np.uint8)
    counts = np.array([300] * 100)

    def parts(first, last):
        own = slice(first * 300, last * 300)
        return SetContents(hashes[own], tags[own], np.arange(first, last), counts[first:last])

    first = SetTables.build(parts(0, 80))
    steps = list(joined(first, first.alike(parts(80, 100))))
    assert [len(step) for step in steps] == [2, 2, 2, 1]
    whole = SetIndex([SetTables.build(parts(0, 100))])
    queries = (hashes[::6000] ^ noise(5, 3, seed=5))[: 1 if kind == "equal" else 5]
    for step in steps:
        index = SetIndex(step)
        for one, other in zip(index.near(queries, 6).columns, whole.near(queries, 6).columns, strict=True):
            assert np.array_equal(one, other)
        for one, other in zip(index.contents(), whole.contents(), strict=True):
            assert np.array_equal(one, other)
    assert SetTables.build(parts(1, 80)).alike(parts(0, 1)) is None
    assert steps[1][0].alike(parts(100, 101)) is None
    monkeypatch.setattr(set_tables, "LEAST_KEY_BITS", 2)
    assert SetTables.build(parts(0, 10)).alike(parts(10, 100)) is None


@settings(max_examples=60, deadline=None)
@given(collections(), st.lists(st.integers(0, 12), max_size=8), st.sampled_from(RADII), masks)
def test_a_tail_finds_what_comparing_finds(collection, counts, radius, sure):
    hashes, _, queries = collection
    model = cut(hashes, counts)
    found = built(model).near(as_queries(queries), radius, as_queries(sure[: len(queries)]))
    assert rows(found) == plain_near(model, queries, radius, sure)


def many(kind):
    hashes = random_hashes(30_000)
    if kind == "near each other":
        hashes = hashes[:300].repeat(100) ^ noise(30_000, 7)
    elif kind == "in one band":
        hashes &= np.uint64(0x1FFFFF)
    elif kind == "copies":
        hashes[1000:20_000] = hashes[:100].repeat(190)
    elif kind == "equal":
        hashes[:] = 2**63
    return hashes


@pytest.mark.parametrize("scan", [False, True])
@pytest.mark.parametrize("kind", ["random", "near each other", "in one band", "copies", "equal"])
def test_many_hashes_are_found_once_each(kind, scan, monkeypatch):
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 0 if scan else 1e12)
    hashes = many(kind)
    model = cut(hashes, np.random.default_rng(3).integers(0, 300, 150).tolist())
    index = built(model)
    # Of some, the nearest are 2 bits away in the first band.
    queries = np.concatenate([hashes[::3000], hashes[::4000] ^ noise(8, 9, seed=5), random_hashes(3, seed=8)])
    # Of each, all that one hash, mostly a near one if there are any, does not differ in.
    sure = ~(queries ^ np.concatenate([hashes[1::3000], hashes[1::4000], random_hashes(3)]))
    for radius in RADII if kind != "equal" else RADII[:-1]:
        few = slice(2 if radius == 64 or kind == "equal" else None)
        assert rows(index.near(queries[few], radius)) == plain_near(model, queries[few], radius)
        found = rows(index.near(queries[few], radius, sure[few]))
        assert found == plain_near(model, queries[few], radius, sure[few])


@pytest.mark.parametrize("key_bits", [17, 19, 21])
def test_keys_of_large_tables_find_what_comparing_finds(key_bits, monkeypatch):
    monkeypatch.setattr(set_tables, "LEAST_KEY_BITS", key_bits)
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 1e12)
    hashes = random_hashes(9000)
    hashes[:3000] = noise(3000, 9)
    model = cut(hashes, [100] * 85)
    index = built(model)
    assert index._version.parts[0].tables.key_bits == key_bits
    queries = np.concatenate([hashes[::1000], as_queries([0, 2**64 - 1, 2**63])])
    sure = ~noise(len(queries), 40, seed=6)
    for radius in RADII[:-1]:
        assert rows(index.near(queries, radius)) == plain_near(model, queries, radius)
        assert rows(index.near(queries, radius, sure)) == plain_near(model, queries, radius, sure)
    assert np.array_equal(index.contents()[0], hashes)


def test_a_tail_of_many_windows_finds_what_comparing_finds(monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", 100_000)
    hashes = random_hashes(9000)
    model = cut(hashes, [100] * 85)
    queries = hashes[[0, 63, 64, 4095, 4096, 4097, 8191, 8192, 8999]]
    assert rows(built(model).near(queries, 20)) == plain_near(model, queries, 20)


def test_copies_that_only_a_later_band_finds_are_found_once_each(monkeypatch):
    monkeypatch.setattr(set_tables, "_SCANNED_NS", 1e12)
    hashes = np.full(20_000, 2**63, np.uint64)
    hashes[10_000:] = noise(10_000, 2, seed=4) ^ np.uint64(2**63)
    model = cut(hashes, [5000, 3000, 7000])
    index = built(model)
    moved = index._version.parts[0].tables.moves
    first, last = (
        [1 << bit for bit in range(64) if int(moved[bit // 8, 1 << bit % 8]).bit_length() - 1 in places]
        for places in (range(22), range(43, 64))
    )
    queries = [2**63 ^ first[0] ^ first[1] ^ first[2], 2**63 ^ first[4] ^ first[9] ^ last[0] ^ last[5]]
    assert rows(index.near(as_queries(queries), 5)) == plain_near(model, queries, 5)


def test_more_queries_than_go_at_once_are_numbered_on(monkeypatch):
    monkeypatch.setattr(sets, "_MOST_QUERIES", 3)
    model = cut(random_hashes(100), [10] * 8)
    queries = random_hashes(100)[::9]
    sure = ~noise(len(queries), 200, seed=6)  # three bits, about
    assert rows(built(model).near(queries, 20)) == plain_near(model, queries, 20)
    assert rows(built(model).near(queries, 30, sure)) == plain_near(model, queries, 30, sure)


def test_what_is_sure_of_other_queries_is_refused():
    with pytest.raises(ValueError, match="of 2 hashes, there are 1"):
        built({1: [2]}).near(as_queries([1]), 5, as_queries([1, 2]))
    with pytest.raises(ValueError, match="uint64"):
        built({1: [2]}).near(as_queries([1]), 5, np.array([1]))


def test_equal_queries_find_the_same_each():
    hashes = random_hashes(6000)
    model = cut(hashes, [100] * 50)
    queries = hashes[[7, 7, 5999, 7]]
    for index in (built(model), built(model | {0: [int(hashes[7])]})):
        found = rows(index.near(queries, 0))
        assert {row[0] for row in found} == {0, 1, 2, 3}
        assert [row[1:] for row in found if row[0] == 0] == [row[1:] for row in found if row[0] == 3]


def test_an_empty_index_finds_nothing():
    for index in (SetIndex(), built({}), built({4: []})):
        assert (len(index), rows(index.near(as_queries([1, 2]), 64))) == (0, [])
        index.merge_now()
        assert [len(column) for column in index.contents()] == [0, 0, 0]


def test_no_queries_find_nothing():
    assert rows(built({1: list(range(5000))}).near(as_queries([]), 5)) == []


def test_sets_of_millions_of_owners_apart_keep_their_order_when_put_again():
    hashes = random_hashes(6000)
    model = {owner * 1_000_003: hashes[60 * owner : 60 * owner + 60].tolist() for owner in range(100)}
    index = built(model)
    again = {50 * 1_000_003: model[0], -(2**63): model[0], 2**63 - 1: model[1_000_003]}
    put(index, again)
    model |= again
    queries = hashes[:120:5]
    assert rows(index.near(queries, 8)) == plain_near(model, queries, 8)
    index.merge_now()
    assert rows(index.near(queries, 8)) == plain_near(model, queries, 8)


@pytest.mark.parametrize("tail", [1, 4096])
def test_owners_at_the_edges_are_replaced_and_removed(tail, monkeypatch):
    monkeypatch.setattr(sets, "_TAIL", tail)
    edges = [-(2**63), -(2**63) + 1, -1, 0, 1, 2**63 - 2, 2**63 - 1]
    index, model = SetIndex(), {}
    for number, owner in enumerate(edges + edges[::2]):
        own = {owner: [number, 2**63 + number], owner ^ 5: []}
        put(index, own)
        model |= own
        holds(index, model)
    index.remove(np.array([2**63 - 1, -(2**63), 77]))
    del model[2**63 - 1], model[-(2**63)]
    holds(index, model)
    index.merge_now()
    holds(index, model)
    index.close()


def test_25_bytes_are_enough_for_a_hash():
    hashes = random_hashes(2_000_000)
    index = SetIndex.build(hashes, np.arange(12_500), np.full(12_500, 160))
    assert index.nbytes / len(index) < 27  # those of keys are as many for twelve times as many hashes


@pytest.mark.parametrize(
    ("hashes", "owners", "counts", "message"),
    [
        ([1, 2], [1], [1], "counts must add up"),
        ([1], [1, 2], [2, -1], "counts must add up"),
        ([1], [1, 2], [1], "ids must be int64"),
        ([], [1, 2, 3, 4], [2**62] * 4, "counts must add up"),
        ([1, 2], [1, 1], [1, 1], "once"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_changes_nothing(hashes, owners, counts, message):
    index = built({5: [7]})
    with pytest.raises(ValueError, match=message):
        index.put(np.array(owners, np.int64), np.array(hashes, np.uint64), np.array(counts, np.int64))
    assert index.contents()[0].tolist() == [7]


def test_more_hashes_than_positions_have_numbers_for_are_refused():
    tail = replace(SetTail.empty(), size=2**32 - 1)
    with pytest.raises(ValueError, match=r"fewer than 2\*\*32"):
        tail.with_sets(SetContents.checked(as_queries([1]), np.array([1]), np.array([1])))


def test_owners_that_do_not_ascend_are_refused_when_building():
    with pytest.raises(ValueError, match="ascend"):
        SetIndex.build(as_queries([1, 2]), np.array([2, 1]), np.array([1, 1]))


@pytest.mark.parametrize("radius", [-1, 65, 1.5])
def test_a_radius_that_is_none_is_refused(radius):
    with pytest.raises(ValueError, match="max_distance"):
        built({1: [2]}).near(as_queries([1]), radius)


def test_tables_that_are_built_on_two_threads_are_the_same():
    hashes = random_hashes(20_000)
    tags = np.arange(20_000).astype(np.uint8)
    contents = SetContents(hashes, tags, np.arange(100), np.full(100, 200))
    one, two = (SetTables.build(contents, threads=threads) for threads in (1, 2))
    for name in ("positions", "starts", "coarse"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    for own, other in zip(one.bands, two.bands, strict=True):
        assert np.array_equal(own.begins, other.begins)
        assert np.array_equal(own.rest, other.rest)
        assert np.array_equal(own.low[: len(hashes)], other.low[: len(hashes)])
