"""Keypoints that are near in some state: found once asked for, as by comparing each with each in all states."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from app.fingerprints.keypoint_value import STATES, TELLING, TURNED, Keypoints, canonical
from app.index.sets import SetIndex
from app.matching.near_keypoints import Asked, near

# The state that a telling bit tells of.
TOLD = {0: 0, 1 << 63: 1, 1 << 62: 2, 3 << 62: 3}

codes = st.lists(
    st.builds(
        lambda base, state, bits: int(base ^ TURNED[state]) ^ sum({1 << bit for bit in bits}),
        st.sampled_from([np.uint64(0), np.uint64(2**64 - 1), np.uint64(0x0123456789ABCDEF)]),
        st.integers(0, 3),
        st.lists(st.integers(0, 63), max_size=3),
    ),
    max_size=8,
)


def plain_near(keypoints: Keypoints, stored: Keypoints, radius: int) -> list[tuple[int, int, int]]:
    """State, number and place of all pairs that are near."""
    found = []
    for state in range(len(STATES)):
        for number, code in enumerate(keypoints.codes ^ TURNED[state]):
            for place, other in enumerate(stored.codes):
                different = code ^ other
                told = TOLD[int(different & TELLING)] & ~int(keypoints.doubts[number]) == 0
                rest = different & ~TELLING
                if told and rest & keypoints.sure[number] == 0 and int(rest).bit_count() <= radius:
                    found.append((state, number, place))
    return found


def points(some: list[int], doubts: list[int], sure: list[int] | None = None) -> Keypoints:
    return Keypoints(
        np.array(some, np.uint64),
        np.zeros((len(some), 4), np.float32),
        np.array(doubts[: len(some)], np.uint8),
        np.array((sure or [0] * 8)[: len(some)], np.uint64),
    )


@settings(deadline=None)
@given(
    codes,
    st.lists(codes, max_size=4),
    st.lists(st.integers(0, 3), min_size=8, max_size=8),
    st.lists(st.one_of(st.just(0), st.integers(0, 2**64 - 1)), min_size=8, max_size=8),
    st.sampled_from([0, 1, 5, 62, 64]),
)
def test_all_that_are_near_are_found_in_their_states(asked, stored, doubts, sure, radius):
    query = points(asked, doubts, sure)
    hashes, states = canonical(np.array([code for own in stored for code in own], np.uint64))
    counts = np.array([len(own) for own in stored], np.int64)
    index = SetIndex.build(hashes, np.arange(len(stored)), counts, states)
    other = points(asked[::-1], doubts[::-1], sure[::-1])  # asked for together, each is told its own
    hits, reverse = near(index, [query, other], radius)
    assert len(reverse) == sum(len(plain_near(other, points(own, [0] * 8), radius)) for own in stored)
    found = zip(hits.owners.tolist(), hits.queries.tolist(), hits.places.tolist(), strict=True)
    plain = [
        (owner, state * len(query) + number, place)
        for owner, own in enumerate(stored)
        for state, number, place in plain_near(query, points(own, [0] * 8), radius)
    ]
    assert sorted(found) == sorted(plain)
    numbers = hits.queries % max(len(query), 1)
    assert (np.diff(numbers) >= 0).all()


def test_a_keypoint_is_asked_for_in_as_many_ways_as_there_are_doubts():
    query = points([2**64 - 1] * 4, [0, 1, 2, 3])
    asked = Asked.of(query)
    assert asked.numbers.tolist() == [0, 1, 1, 2, 2, 3, 3, 3, 3]
    assert asked.states.tolist() == [3, 3, 2, 3, 1, 3, 2, 1, 0]
    assert not (asked.hashes & TELLING).any()


def test_no_keypoints_are_near_to_nothing():
    index = SetIndex.build(*(np.empty(0, kind) for kind in (np.uint64, np.int64, np.int64, np.uint8)))
    assert [len(hits) for hits in near(index, [points([], [])], 64)] == [0]
    assert near(index, [], 64) == []
