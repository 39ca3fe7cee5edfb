from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.matching import clusters as module
from app.matching.clusters import Clusters, clusters, linked

Codes = NDArray[np.uint64]
Made = Callable[..., Clusters]

ALL = 2**64 - 1


@dataclass(frozen=True)
class Case:
    codes: Codes
    max_distance: int
    min_size: int


def column(*codes: int) -> Codes:
    return np.array(codes, np.uint64)[:, None]


@st.composite
def cases(draw: st.DrawFn, words: st.SearchStrategy[int] | None = None) -> Case:
    """Few codes, a few bits apart, several of them more than once; radii from 0 to all bits."""
    count = draw(st.sampled_from([1, 4]) if words is None else words)
    flips = st.lists(st.integers(0, 64 * count - 1) | st.sampled_from([0, 63]), max_size=5)
    numbers = [0, draw(st.integers(0, 2 ** (64 * count) - 1))]
    for _ in range(draw(st.integers(0, 22))):
        number = numbers[draw(st.integers(0, len(numbers) - 1))]
        for bit in draw(flips):
            number ^= 1 << bit
        numbers.append(number)
    kept = draw(st.lists(st.sampled_from(numbers), max_size=40))
    codes = [[number >> 64 * (count - 1 - word) & ALL for word in range(count)] for number in kept]
    radius = draw(st.integers(0, 9) | st.sampled_from([0, 32 * count, 64 * count]))
    return Case(np.array(codes, np.uint64).reshape(-1, count), radius, draw(st.integers(1, 5)))


def between(codes: Codes) -> NDArray[np.int64]:
    """Bits between each row and each: int64[n, n]."""
    return np.bitwise_count(codes[:, None, :] ^ codes[None, :, :]).sum(axis=2, dtype=np.int64)


def in_order(codes: Codes) -> list[tuple[int, ...]]:
    return [tuple(row) for row in codes.tolist()]


def as_clusters(codes: Codes, owners: NDArray[np.int64]) -> Clusters:
    """By the medoid of each row, the first with its code, or -1."""
    found = [int(owner) for owner in np.unique(owners[owners >= 0])]
    found.sort(key=lambda owner: (-int((owners == owner).sum()), in_order(codes)[owner]))
    numbers = np.array([found.index(owner) if owner >= 0 else -1 for owner in owners.tolist()], np.int64)
    distances = between(codes)[np.arange(len(codes)), owners] if len(codes) else np.zeros(0)
    return Clusters(np.array(found, np.int64), numbers, np.where(owners < 0, 0, distances).astype(np.uint16))


def plain_clusters(codes: Codes, radius: int, min_size: int) -> Clusters:
    bits, order = between(codes), in_order(codes)
    near, in_core = bits <= radius, bits <= radius * 2 // 3
    free = np.ones(len(codes), bool)
    owners = np.full(len(codes), -1)
    while True:
        degrees, cores = (near & free).sum(axis=1), (in_core & free).sum(axis=1)
        able = np.flatnonzero(free & (degrees >= min_size)).tolist()
        if not able:
            break
        medoid = min(able, key=lambda row: (-cores[row], -degrees[row], order[row], row))
        owners[near[medoid] & free] = medoid
        free &= ~near[medoid]
    medoids = sorted(set(owners[~free].tolist()), key=lambda row: order[row])
    kept: set[int] = set()
    while True:
        moved = owners.copy()
        for row in np.flatnonzero(~free).tolist():
            if owners[row] not in kept:
                moved[row] = min(medoids, key=lambda medoid: bits[row, medoid])
        short = {medoid for medoid in medoids if (moved == medoid).sum() < min_size}
        if not short:
            return as_clusters(codes, moved)
        kept |= short


def plain_linked(codes: Codes, radius: int, min_size: int) -> Clusters:
    near, order = between(codes) <= radius, in_order(codes)
    owners = np.full(len(codes), -1)
    seen = np.zeros(len(codes), bool)
    for row in range(len(codes)):
        if seen[row]:
            continue
        reached = np.arange(len(codes)) == row
        while (more := near[reached].any(axis=0)).sum() > reached.sum():
            reached = more
        seen |= reached
        members = np.flatnonzero(reached).tolist()
        if len(members) >= min_size:
            owners[reached] = min(members, key=lambda row: (-near[row].sum(), order[row], row))
    return as_clusters(codes, owners)


def assert_same(found: Clusters, expected: Clusters) -> None:
    assert found.medoids.tolist() == expected.medoids.tolist()
    assert found.numbers.tolist() == expected.numbers.tolist()
    assert found.distances.tolist() == expected.distances.tolist()
    assert (found.medoids.dtype, found.numbers.dtype) == (np.int64, np.int64)
    assert found.distances.dtype == np.uint16


def crowd(words: int, seed: int = 0) -> Codes:
    """1,500 codes, more than two blocks: around 40 centres, at random, and some again."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, (40, words), np.uint64)
    codes = centres[rng.integers(0, 40, 1200)]
    for _ in range(3):
        flipped = np.uint64(1) << rng.integers(0, 64, codes.shape, np.uint64)
        codes ^= np.where(rng.random(codes.shape) < 0.8, flipped, np.uint64(0))
    codes = np.concatenate([codes, codes[:100], rng.integers(0, 2**64, (200, words), np.uint64)])
    return codes[rng.permutation(len(codes))]


@given(cases())
@example(Case(np.zeros((0, 4), np.uint64), 3, 1))
@example(Case(column(1 << 63), 0, 1))
@example(Case(column(1 << 63), 64, 2))
@example(Case(column(0, ALL), 64, 2))
@example(Case(np.array([[0] * 4, [ALL] * 4], np.uint64), 256, 2))
@example(Case(column(0, ALL), 63, 2))
def test_clusters_are_those_of_the_plain_way(case: Case) -> None:
    found = clusters(case.codes, case.max_distance, min_size=case.min_size)
    assert_same(found, plain_clusters(case.codes, case.max_distance, case.min_size))


# Apart, beside each other, overlapping, all one.
@pytest.mark.parametrize(
    ("words", "radius"), [(1, 4), (1, 6), (2, 9), (4, 14), (4, 20), (1, 22), (4, 110), (4, 128)]
)
@pytest.mark.parametrize("min_size", [2, 10])
def test_clusters_of_many_are_those_of_the_plain_way(
    words: int, radius: int, min_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = crowd(words)
    expected = plain_clusters(codes, radius, min_size)
    assert_same(clusters(codes, radius, min_size=min_size), expected)
    assert len(expected) >= 20 or radius == 128
    monkeypatch.setattr(module, "_COMPARED", 2000)  # stopping and going on all the time
    assert_same(clusters(codes, radius, min_size=min_size), expected)


@given(cases())
def test_every_member_is_within_the_distance_of_its_medoid(case: Case) -> None:
    found = clusters(case.codes, case.max_distance, min_size=case.min_size)
    inside = found.numbers >= 0
    to_medoid = np.bitwise_count(case.codes[inside] ^ case.codes[found.medoids][found.numbers[inside]])
    assert (found.distances[inside] == to_medoid.sum(axis=1)).all()
    assert (found.distances[inside] <= case.max_distance).all()
    assert (found.distances[~inside] == 0).all()
    assert found.numbers[found.medoids].tolist() == list(range(len(found)))


@given(cases())
def test_no_cluster_could_be_made_of_what_is_outside(case: Case) -> None:
    found = clusters(case.codes, case.max_distance, min_size=case.min_size)
    outside = case.codes[found.numbers < 0]
    assert found.outside == len(outside)
    assert ((between(outside) <= case.max_distance).sum(axis=1) < case.min_size).all()


@given(cases())
def test_clusters_are_numbered_from_the_largest_to_the_least_size(case: Case) -> None:
    found = clusters(case.codes, case.max_distance, min_size=case.min_size)
    sizes = [(found.numbers == number).sum() for number in range(len(found))]
    codes = in_order(case.codes[found.medoids])
    assert found.sizes.tolist() == sizes
    assert all(size >= case.min_size for size in sizes)
    keys = [(-size, code) for size, code in zip(sizes, codes, strict=True)]
    assert keys == sorted(keys)


@pytest.mark.parametrize("make", [clusters, linked])
@given(case=cases(st.just(1)), data=st.data())
def test_rows_in_another_order_are_in_the_same_clusters(make: Made, case: Case, data: st.DataObject) -> None:
    order = np.array(data.draw(st.permutations(range(len(case.codes)))), np.int64)
    first = make(case.codes, case.max_distance, min_size=case.min_size)
    second = make(case.codes[order], case.max_distance, min_size=case.min_size)
    assert second.numbers.tolist() == first.numbers[order].tolist()
    assert second.distances.tolist() == first.distances[order].tolist()
    assert case.codes[order][second.medoids].tolist() == case.codes[first.medoids].tolist()


@pytest.mark.parametrize("words", [1, 4])
def test_many_rows_in_another_order_are_in_the_same_clusters(words: int) -> None:
    codes = crowd(words)
    order = np.random.default_rng(1).permutation(len(codes))
    first, second = clusters(codes, 6 * words, min_size=5), clusters(codes[order], 6 * words, min_size=5)
    assert second.numbers.tolist() == first.numbers[order].tolist()


@pytest.mark.parametrize("make", [clusters, linked])
@given(case=cases(st.just(1)))
def test_equal_codes_are_together_and_the_first_is_the_medoid(make: Made, case: Case) -> None:
    found = make(case.codes, case.max_distance, min_size=case.min_size)
    together: dict[tuple[int, ...], set[int]] = {}
    for code, number in zip(in_order(case.codes), found.numbers.tolist(), strict=True):
        together.setdefault(code, set()).add(number)
    assert all(len(numbers) == 1 for numbers in together.values())
    order = in_order(case.codes)
    assert all(order.index(order[medoid]) == medoid for medoid in found.medoids.tolist())


def test_what_is_like_a_member_alone_stays_outside() -> None:
    found = clusters(column(0b0000, 0b0001, 0b0011, 0b0111), 1)
    assert found.numbers.tolist() == [0, 0, 0, -1]


def test_the_medoid_is_where_most_are_close_not_where_most_are_near() -> None:
    # Within 6 of the middle are all 9, within 4 none; at either end all are within 2 of each other.
    left = [0, 1, 2, 4]
    right = [0b111111111111 << 8 | one for one in left]
    middle = 0b111111 << 8
    found = clusters(column(middle, *left, *right), 6)
    assert found.medoids.tolist() == [1, 5]
    assert found.numbers.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]


def test_an_image_moves_to_a_nearer_medoid() -> None:
    # The first star, of 0, takes 0b111, which is within 2 of the second.
    found = clusters(column(0, 0, 0, 0, 0b111, 0b11111, 0b11111), 3)
    assert found.medoids.tolist() == [0, 5]
    assert found.numbers.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found.distances.tolist() == [0, 0, 0, 0, 2, 0, 0]


def test_a_star_keeps_what_it_would_be_too_small_without() -> None:
    # The first star, of 0, takes 0b1111, which is within 3 of the second.
    codes = column(*[0] * 4, 0b1111, *[0b1111111] * 3, *[0b1111111 | 0b111 << 10] * 2)
    assert clusters(codes, 4, min_size=4).numbers.tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert clusters(codes, 4, min_size=5).numbers.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]


def test_a_star_keeps_what_it_is_too_small_without_once_another_keeps_its_own() -> None:
    # Each of three stars takes one that is nearer to the next. The second has enough until the first keeps its own.
    one, two = 0b1111111, 0b11111111111111
    first = [*[0] * 6, 0b1111]
    second = [*[one] * 5, one | 0b1111 << 7, one | 0b1111 << 20]
    third = [*[two] * 4, *[two | 0b1111 << 30] * 3]
    found = clusters(column(*first, *second, *third), 4, min_size=7)
    assert found.numbers.tolist() == [*[0] * 7, *[1] * 7, *[2] * 7]


def test_all_equal_are_one_cluster() -> None:
    found = clusters(np.full((1000, 4), ALL, np.uint64), 0)
    assert (found.medoids.tolist(), set(found.numbers.tolist())) == ([0], {0})


@given(cases(st.just(1)))
@example(Case(column(), 3, 1))
@example(Case(column(1 << 63, 0, 1 << 63), 1, 3))
def test_linked_are_those_of_the_plain_way(case: Case) -> None:
    found = linked(case.codes, case.max_distance, min_size=case.min_size)
    assert_same(found, plain_linked(case.codes, case.max_distance, case.min_size))


def test_many_linked_are_those_of_the_plain_way() -> None:
    assert_same(linked(crowd(1), 4, min_size=3), plain_linked(crowd(1), 4, 3))


def test_linked_chain() -> None:
    assert linked(column(0b0000, 0b0001, 0b0011, 0b0111), 1).numbers.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("make", [clusters, linked])
def test_there_is_word_of_progress_up_to_the_end(make: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_COMPARED", 100_000)
    told: list[float] = []
    make(crowd(1), 6, progress=told.append)
    assert told == sorted(told)
    assert told[0] >= 0
    assert told[-1] == 1
    if make is clusters:
        assert len(told) > 20


class Enough(Exception):
    pass


@pytest.mark.parametrize("make", [clusters, linked])
def test_what_progress_raises_ends_the_work(make: Made) -> None:
    def stop(done: float) -> None:
        raise Enough

    with pytest.raises(Enough):
        make(crowd(1), 6, progress=stop)


def test_codes_are_left_as_they_are() -> None:
    codes = crowd(4)
    before = codes.copy()
    codes.flags.writeable = False
    clusters(codes, 20)
    assert (codes == before).all()


@pytest.mark.parametrize("make", [clusters, linked])
@pytest.mark.parametrize(
    "codes", [np.zeros(3, np.uint64), np.zeros((3, 1), np.int64), np.zeros((3, 0), np.uint64), [[1]], None]
)
def test_other_arrays_are_refused(make: Made, codes: Codes) -> None:
    with pytest.raises(ValueError, match="must be uint64"):
        make(codes, 3)


def test_longer_codes_are_not_linked() -> None:
    with pytest.raises(ValueError, match=r"must be uint64\[n, 1\] to be linked"):
        linked(np.zeros((3, 4), np.uint64), 3)


@pytest.mark.parametrize("make", [clusters, linked])
def test_distances_and_sizes_that_cannot_be_are_refused(make: Made) -> None:
    for distance in (-1, 65, 1.5):
        with pytest.raises(ValueError, match=f"max_distance is {distance}, it must be 0 to 64"):
            make(column(1), distance)
    with pytest.raises(ValueError, match="min_size is 0, it must be 1 or more"):
        make(column(1), 3, min_size=0)
    with pytest.raises(ValueError, match="it must be 0 to 256"):
        clusters(np.zeros((1, 4), np.uint64), 257)
