"""Families of copies: what pairs join, against the plain way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.matching.families import joined


def plainly_joined(count: int, pairs: list[tuple[int, int]]) -> list[set[int]]:
    families = [{row} for row in range(count)]
    for one, other in pairs:
        mine = next(family for family in families if one in family)
        theirs = next(family for family in families if other in family)
        if mine is not theirs:
            families.remove(theirs)
            mine |= theirs
    return families


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
