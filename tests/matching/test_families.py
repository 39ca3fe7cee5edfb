"""Families of copies: what pairs join, against the plain way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.matching.families import joined, parts_of, strongest


def plainly_joined(count: int, pairs: list[tuple[int, int]]) -> list[set[int]]:
    families = [{row} for row in range(count)]
    for one, other in pairs:
        mine = next(family for family in families if one in family)
        theirs = next(family for family in families if other in family)
        if mine is not theirs:
            families.remove(theirs)
            mine |= theirs
    return families


@given(st.data(), st.integers(2, 12))
def test_parts_are_those_of_plain_union_find(data, count):
    rows = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(rows, rows).filter(lambda pair: pair[0] != pair[1]), max_size=14))
    parts = parts_of(count, np.array(pairs, np.int64).reshape(-1, 2)).tolist()
    found = [{row for row in range(count) if parts[row] == part} for part in set(parts)]
    assert sorted(found, key=min) == sorted(plainly_joined(count, pairs), key=min)


@given(st.data(), st.integers(2, 9))
def test_strongest_pair_is_the_least_of_all_whatever_order_they_come_in(data, count):
    rows = st.integers(0, count - 1)
    told = st.tuples(rows, rows, st.integers(0, 6), st.sampled_from([0, 1, 1000, 2**31 - 1]))
    pairs = data.draw(st.lists(told, unique_by=lambda pair: pair[:2], max_size=20))
    table = np.array(pairs, np.int64).reshape(-1, 4)
    found = strongest(
        count, table[:, :2], table[:, 2].astype(np.int16), table[:, 3].astype(np.int32)
    ).tolist()
    for row in range(count):
        of_row = [(rank, nearest, first) for first, second, rank, nearest in pairs if second == row]
        best = pairs[found[row]] if found[row] >= 0 else None
        assert (best and (best[2], best[3], best[0])) == min(of_row, default=None)
        assert best is None or best[1] == row


@given(st.data(), st.integers(0, 12), st.integers(2, 4))
def test_what_pairs_join_is_together_and_all_else_apart(data, count, least):
    rows = st.integers(0, max(count - 1, 0))
    pairs = data.draw(st.lists(st.tuples(rows, rows).filter(lambda pair: pair[0] != pair[1]), max_size=14))
    pairs = pairs if count > 1 else []
    found = joined(count, np.array(pairs, np.int64).reshape(-1, 2), min_size=least)
    wanted = [family for family in plainly_joined(count, pairs) if len(family) >= least]
    got = [set(np.flatnonzero(found.numbers == number).tolist()) for number in range(len(found))]
    assert sorted(got, key=min) == sorted(wanted, key=min)
    assert [len(family) for family in got] == sorted(map(len, got), reverse=True)
    partners = {row: {b for a, b in (*pairs, *(p[::-1] for p in pairs)) if a == row} for row in range(count)}
    for medoid, family in zip(found.medoids.tolist(), got, strict=True):
        assert medoid == min(family, key=lambda row: (-len(partners[row]), row))
        # Steps from the medoid, one ring of partners after the other.
        steps, ring, seen = 0, {medoid}, set()
        while ring:
            assert {int(found.distances[row]) for row in ring} == {steps}
            seen |= ring
            ring = set().union(*(partners[row] for row in ring)) - seen
            steps += 1
    assert (found.distances[found.numbers < 0] == 0).all()
