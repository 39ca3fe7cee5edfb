from collections import Counter
from dataclasses import dataclass

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from app.matching.succession import Succession, succession


@dataclass(frozen=True)
class Case:
    """By image the number of its cluster, in the run before and in the new one, which has `count`."""

    old: dict[int, int]
    new: dict[int, int]
    count: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few images, few clusters: splits, merges and ties are frequent; row ids are neither dense nor in order."""
    images = st.sampled_from([2**62, *range(1, 40)])
    old = draw(st.dictionaries(images, st.integers(0, 5), max_size=25))
    new = draw(st.dictionaries(images, st.integers(0, 5), max_size=25))
    return Case(old, new, max(new.values(), default=-1) + 1 + draw(st.integers(0, 2)))


def found(case: Case) -> Succession:
    return succession(
        np.array(list(case.old), np.int64),
        np.array(list(case.old.values()), np.int64),
        np.array(list(case.new), np.int64),
        np.array(list(case.new.values()), np.int64),
        case.count,
    )


def plain(case: Case) -> tuple[list[int], list[list[int]]]:
    """Pairs by how many images are in both, the largest first; each side is taken once."""
    both = Counter((old, case.new[image]) for image, old in case.old.items() if image in case.new)
    carried: dict[int, int] = {}
    for (old, new), _ in sorted(both.items(), key=lambda item: (-item[1], item[0])):
        if new not in carried and old not in carried.values():
            carried[new] = old
    shared = [[old, new, images] for (old, new), images in sorted(both.items())]
    return [carried.get(new, -1) for new in range(case.count)], shared


def run_of(*clusters: str) -> dict[int, int]:
    """Each letter is an image, each text a cluster."""
    return {ord(image): number for number, cluster in enumerate(clusters) for image in cluster}


def carried(old: dict[int, int], new: dict[int, int], count: int | None = None) -> list[int]:
    count = max(new.values(), default=-1) + 1 if count is None else count
    return found(Case(old, new, count)).carried.tolist()


@given(cases())
@example(Case({}, {}, 0))
@example(Case({}, run_of("ab", "c"), 2))
@example(Case(run_of("ab", "c"), {}, 0))
def test_numbers_are_carried_as_by_the_plain_way(case: Case) -> None:
    succeeded = found(case)
    expected, shared = plain(case)
    assert succeeded.carried.tolist() == expected
    assert succeeded.shared.tolist() == shared


@given(cases())
def test_each_old_number_is_carried_once_at_most_and_only_where_images_are_shared(case: Case) -> None:
    succeeded = found(case)
    kept = [number for number in succeeded.carried.tolist() if number >= 0]
    assert len(kept) == len(set(kept))
    pairs = {(old, new) for old, new, _ in succeeded.shared.tolist()}
    assert {(old, new) for new, old in enumerate(succeeded.carried.tolist()) if old >= 0} <= pairs


@given(cases())
def test_no_pair_is_left_that_shares_images_and_has_no_partner(case: Case) -> None:
    succeeded = found(case)
    kept = set(succeeded.carried.tolist())
    for old, new, _ in succeeded.shared.tolist():
        assert old in kept or succeeded.carried[new] >= 0


@given(cases())
def test_what_is_shared_adds_up_to_the_images_that_are_in_both_runs(case: Case) -> None:
    shared = found(case).shared
    assert shared.shape[1:] == (3,)
    assert shared[:, 2].sum() == len(case.old.keys() & case.new.keys())
    assert (shared[:, 2] > 0).all()


@given(cases(), st.randoms(use_true_random=False))
def test_the_order_that_images_come_in_does_not_matter(case: Case, random: object) -> None:
    items = [list(side.items()) for side in (case.old, case.new)]
    for side in items:
        random.shuffle(side)  # type: ignore[attr-defined]
    shuffled = found(Case(dict(items[0]), dict(items[1]), case.count))
    assert shuffled.carried.tolist() == found(case).carried.tolist()
    assert shuffled.shared.tolist() == found(case).shared.tolist()


def test_the_same_clusters_under_other_numbers_keep_their_own() -> None:
    assert carried(run_of("abc", "de", "f"), run_of("f", "abc", "de")) == [2, 0, 1]


def test_of_a_split_the_larger_part_carries_on() -> None:
    assert carried(run_of("abcde"), run_of("ab", "cde")) == [-1, 0]


def test_a_merger_carries_on_the_one_that_it_has_most_of() -> None:
    old, new = run_of("ab", "cde", "fg"), run_of("abcdefg")
    assert carried(old, new) == [1]
    assert found(Case(old, new, 1)).shared.tolist() == [[0, 0, 2], [1, 0, 3], [2, 0, 2]]


def test_a_number_goes_to_the_next_best_where_the_best_carries_on_another() -> None:
    # The second new cluster shares most with the first old one, which the first new one shares more with.
    assert carried(run_of("abcdefg", "hi"), run_of("abcd", "efghi")) == [0, 1]


def test_clusters_that_share_nothing_are_all_new() -> None:
    succeeded = found(Case(run_of("ab", "cd"), run_of("ef", "gh", "ij"), 3))
    assert succeeded.carried.tolist() == [-1, -1, -1]
    assert succeeded.shared.shape == (0, 3)


def test_without_a_run_before_all_are_new() -> None:
    assert carried({}, run_of("ab", "cd")) == [-1, -1]


def test_without_a_new_cluster_nothing_carries_on() -> None:
    assert carried(run_of("ab", "cd"), {}, 0) == []


def test_of_pairs_that_share_as_many_the_lower_numbers_come_first() -> None:
    assert carried(run_of("abcd"), run_of("cd", "ab")) == [0, -1]
    assert carried(run_of("ab", "cd"), run_of("cdab")) == [0]
    assert carried(run_of("ab", "cd"), run_of("ac", "bd")) == [0, 1]
