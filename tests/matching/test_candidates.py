"""Ranking images by the keypoints that are near to theirs: against the rules in plain words."""

import math
from collections import defaultdict
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.fingerprints.keypoint_value import STATES
from app.matching.candidates import LEAST_KEYPOINTS, LONG_SIDE, Candidates, agreeing, rank
from app.matching.overlaps import MOST_OFF, MOST_SCALED, MOST_TURNED
from tests.matching.test_overlaps import undoubted

Hit = tuple[int, int, int]
"""Query, owner, place."""


def ranked(hits: list[Hit], keypoints: int, most: int) -> Candidates:
    hits = sorted(hits, key=lambda hit: hit[0] % keypoints)  # in any order otherwise
    columns = np.array(hits, np.int64).reshape(-1, 3)
    return rank(
        columns[:, 0].astype(np.int32), columns[:, 1].copy(), columns[:, 2].astype(np.int32), keypoints, most
    )


def plain_weights(hits: list[Hit], keypoints: int) -> dict[int, dict[int, float]]:
    """By owner, then by state."""
    near = defaultdict(set)
    for query, owner, _ in hits:
        near[query].add(owner)
    weights: dict[int, dict[int, float]] = defaultdict(dict)
    for owner in {owner for _, owner, _ in hits}:
        for state in range(len(STATES)):
            own = [query for query in near if owner in near[query] and query // keypoints == state]
            if len(own) >= LEAST_KEYPOINTS:
                weights[owner][state] = sum(len(near[query]) ** -0.5 for query in own)
    return weights


@st.composite
def found(draw: st.DrawFn) -> tuple[list[Hit], int]:
    keypoints = draw(st.integers(1, 5))
    query = st.integers(0, keypoints * len(STATES) - 1)
    hit = st.tuples(query, st.sampled_from([-3, 0, 1, 2, 2**60]), st.integers(0, 3))
    return draw(st.lists(hit, max_size=60, unique=True)), keypoints


@given(found(), st.integers(0, 6))
def test_candidates_are_those_that_most_and_rarest_keypoints_speak_for(given_hits, most):
    hits, keypoints = given_hits
    weights = plain_weights(hits, keypoints)
    best = {owner: max(of_state.values()) for owner, of_state in weights.items()}
    some = ranked(hits, keypoints, most)
    assert len(some) == min(most, len(best))
    told = dict(zip(some.owners.tolist(), some.weights.tolist(), strict=True))
    assert len(told) == len(some)
    assert list(told.values()) == sorted(told.values(), reverse=True)
    left_out = [weight for owner, weight in best.items() if owner not in told]
    assert not told or not left_out or min(told.values()) >= max(left_out) - 1e-9
    for number, (owner, state) in enumerate(zip(some.owners.tolist(), some.states.tolist(), strict=True)):
        assert math.isclose(told[owner], best[owner])
        assert math.isclose(weights[owner][state], best[owner])
        pairs = some.pairs[some.starts[number] : some.starts[number + 1]].tolist()
        assert sorted(tuple(pair) for pair in pairs) == sorted(
            (query, place) for query, other, place in hits if other == owner and query // keypoints == state
        )


def test_what_is_on_every_form_counts_less_than_two_rare_keypoints_and_a_picture_used_often_more():
    form = [(query, owner, 0) for query in range(30) for owner in range(1000)]
    rare = [(query, 5000, 0) for query in (40, 41)]
    used = [(query, owner, 0) for query in range(100, 260) for owner in range(6000, 6800)]
    places = {
        owner: place for place, owner in enumerate(ranked(form + rare + used, 400, 10_000).owners.tolist())
    }
    assert max(places[owner] for owner in range(6000, 6800)) < places[5000]
    assert places[5000] < min(places[owner] for owner in range(1000))


def test_of_a_pattern_repeated_all_over_both_pictures_some_pairs_are_looked_at():
    hits = [(query, owner, place) for query in range(40) for owner in (1, 2) for place in range(40)]
    some = ranked(hits, 400, 5)
    assert sorted(some.owners.tolist()) == [1, 2]
    assert (np.diff(some.starts) == 32).all()


SIDE = LONG_SIDE
place = st.tuples(
    st.floats(0, SIDE, width=32),
    st.floats(0, SIDE, width=32),
    st.sampled_from([4.0, 4.5, 8.0, 32.0]),
    st.floats(0, 6.25, width=32),
)


def agree(first: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> bool:
    """Whether the second pair of places is where the similarity of the first takes it."""
    (q, s), (x, y) = first, other
    factor, turn = s[2] / q[2], s[3] - q[3]
    across, down = x[:2] - q[:2]
    there = s[:2] + factor * np.array(
        [math.cos(turn) * across - math.sin(turn) * down, math.sin(turn) * across + math.cos(turn) * down]
    )
    turned = abs((y[3] - x[3] - turn + math.pi) % (2 * math.pi) - math.pi)
    scaled = abs(math.log2(y[2] / x[2]) - math.log2(factor))
    return bool(
        np.linalg.norm(there - y[:2]) <= MOST_OFF * SIDE and scaled <= MOST_SCALED and turned <= MOST_TURNED
    )


@given(
    st.lists(place, min_size=1, max_size=4),
    st.lists(st.lists(place, min_size=1, max_size=4), min_size=1, max_size=3),
    st.data(),
)
def test_those_are_kept_of_which_two_keypoints_agree_and_the_most_that_agree_count(query, stored, data):
    hits = [
        (number, owner, position)
        for owner, places in enumerate(stored)
        for position in range(len(places))
        for number in range(len(query))
        if data.draw(st.booleans())
    ]
    some = ranked(hits, len(query), 10)
    points = undoubted(np.zeros(len(query), np.uint64), np.array(query, np.float32))
    own = [np.array(stored[owner], np.float32) for owner in some.owners.tolist()]
    places = [
        own[number][place]
        for number in range(len(some))
        for _, place in some.pairs[some.starts[number] : some.starts[number + 1]].tolist()
    ]
    kept = agreeing(some, points, (SIDE, SIDE), np.array(places, np.float32).reshape(-1, 4))
    wanted = {}
    for number, owner in enumerate(some.owners.tolist()):
        pairs = some.pairs[some.starts[number] : some.starts[number + 1]].tolist()
        weights = dict(
            zip(
                [query_number for query_number, _ in pairs],
                some.pair_weights[some.starts[number] : some.starts[number + 1]].tolist(),
                strict=True,
            )
        )
        both = [(points.places[a].astype(float), own[number][b].astype(float)) for a, b in pairs]
        for first in both:
            same = [place for place, other in enumerate(both) if agree(first, other)]
            apart = any(
                all(np.abs(first[side][:2] - both[place][side][:2]).sum() > 2 for side in (0, 1))
                for place in same
            )
            if apart:
                total = sum(weights[query_number] for query_number in {pairs[place][0] for place in same})
                wanted[owner] = max(wanted.get(owner, 0.0), total)
    assert sorted(kept.owners.tolist()) == sorted(wanted)
    told = [wanted[owner] for owner in kept.owners.tolist()]
    assert all(one >= other - 1e-9 for one, other in pairwise(told))
