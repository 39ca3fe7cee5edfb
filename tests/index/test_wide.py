"""Hashes of two words against plain integers, alone and in a live index."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.index.live import LiveIndex
from app.index.wide import WideScan

CODES = st.one_of(
    st.sampled_from([0, 1, 1 << 63, 1 << 64, 1 << 127, (1 << 128) - 1]), st.integers(0, (1 << 128) - 1)
)
RADII = st.one_of(st.sampled_from([0, 64, 98, 128]), st.integers(0, 128))


def words(codes):
    return np.array([[code >> 64, code & (2**64 - 1)] for code in codes], np.uint64).reshape(-1, 2)


def within(model, query, radius):
    """(distance, id) of everything within the radius: one expression, no arrays."""
    return sorted(
        ((code ^ query).bit_count(), id_)
        for id_, code in model.items()
        if (code ^ query).bit_count() <= radius
    )


def rows(neighbours):
    ordered = neighbours.nearest_first()
    return list(zip(ordered.distances.tolist(), ordered.ids.tolist(), strict=True))


@given(st.lists(CODES, max_size=30), st.lists(CODES, max_size=3), RADII)
def test_scan_of_two_words_finds_what_counting_bits_of_integers_finds(codes, queries, radius):
    model = dict(enumerate(codes))
    index = WideScan.build(words(codes), np.arange(len(codes), dtype=np.int64))
    many = index.within_many(words(queries), radius)
    for number, query in enumerate(queries):
        mine = many.queries == number
        found = sorted(zip(many.distances[mine].tolist(), many.ids[mine].tolist(), strict=True))
        assert found == rows(index.within(words([query])[0], radius)) == within(model, query, radius)


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 20), CODES, max_size=10),
    st.lists(
        st.tuples(st.dictionaries(st.integers(0, 20), CODES, max_size=5), st.sets(st.integers(0, 20))),
        max_size=5,
    ),
    CODES,
    RADII,
    st.booleans(),
)
def test_live_index_of_two_words_follows_a_dict(start, changes, query, radius, merging):
    ids = np.array(list(start), np.int64)
    index = LiveIndex.build(words(start.values()), ids, engine=WideScan)
    model = dict(start)
    for added, removed in changes:
        index.add(words(added.values()), np.array(list(added), np.int64))
        index.remove(np.array(sorted(removed), np.int64))
        model |= added
        model = {id_: code for id_, code in model.items() if id_ not in removed}
        if merging:
            index.merge_now()
        found = index.within_many(words([query]), radius)
        assert sorted(zip(found.distances.tolist(), found.ids.tolist(), strict=True)) == within(
            model, query, radius
        )
    assert len(index) == len(model)


@pytest.mark.parametrize("max_distance", [-1, 129, 0.5])
def test_a_distance_that_two_words_cannot_have_is_refused(max_distance):
    with pytest.raises(ValueError, match="it must be 0 to 128"):
        WideScan.build(words([1]), np.array([1])).within(words([1])[0], max_distance)


@pytest.mark.parametrize("hashes", [np.zeros(3, np.uint64), np.zeros((3, 4), np.uint64), np.zeros((3, 2))])
def test_rows_of_another_shape_or_type_are_refused(hashes):
    with pytest.raises(ValueError, match=r"hashes must be uint64\[n, 2\]"):
        WideScan.build(hashes, np.arange(3))


def test_a_query_of_one_word_is_refused():
    index = WideScan.build(words([1]), np.array([1]))
    with pytest.raises(ValueError, match=r"a query must be uint64\[2\]"):
        index.within(np.zeros(1, np.uint64), 3)
