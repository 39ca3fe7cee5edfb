"""Distances from templates: the array form against the plain one; codes as bytes; chance levels."""

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fingerprints.keypoint_value import KEYPOINTS
from app.matching.templates import (
    COLOURS,
    FARTHEST_BY,
    PATTERN,
    Background,
    code_from_bytes,
    code_to_bytes,
    turned_distances,
)

# Few bits at both ends of a word, so that ties are common and bit 63 is among them; and whole words.
WORD = st.one_of(st.sampled_from([0, 1, 2, 3, 1 << 63, 1 << 63 | 1, 2**64 - 1]), st.integers(0, 2**64 - 1))
SHAPES = {"phash": (8, 1), COLOURS: (1, 2), PATTERN: (2, 4)}


def words_of(rows: list[list[int]], width: int) -> np.ndarray:
    return np.array(rows, np.uint64).reshape(-1, width)


def plain_distances(code: list[list[int]], stored: list[list[int]]) -> list[tuple[int, int]]:
    found = []
    for words in stored:
        bits = [sum((a ^ b).bit_count() for a, b in zip(row, words, strict=True)) for row in code]
        found.append((min(bits), bits.index(min(bits))))
    return found


@given(st.data(), st.sampled_from([(8, 1), (1, 2), (1, 1), (8, 2)]))
def test_distances_are_those_of_the_plain_comparison(data: st.DataObject, shape: tuple[int, int]) -> None:
    rows, width = shape
    word_rows = st.lists(WORD, min_size=width, max_size=width)
    code = data.draw(st.lists(word_rows, min_size=rows, max_size=rows))
    stored = data.draw(st.lists(word_rows, max_size=6))
    distances, turns = turned_distances(words_of(code, width), words_of(stored, width))
    assert distances.dtype == turns.dtype == np.int64
    assert list(zip(distances.tolist(), turns.tolist(), strict=True)) == plain_distances(code, stored)


def test_on_a_tie_the_first_row_is_named() -> None:
    code = words_of([[7], [1], [1], [2], [0b111], [4], [0], [0]], 1)
    distances, turns = turned_distances(code, words_of([[0b101], [0], [7]], 1))
    assert distances.tolist() == [1, 0, 0]
    assert turns.tolist() == [0, 6, 0]


@pytest.mark.parametrize(("fingerprint", "shape"), SHAPES.items())
def test_a_code_comes_back_as_it_was_stored(fingerprint: str, shape: tuple[int, int]) -> None:
    code = np.random.default_rng(1).integers(0, 2**64, shape, dtype=np.uint64)
    code[0, 0] |= np.uint64(1 << 63)
    stored = code_to_bytes(code)
    assert stored[:8] == int(code[0, 0]).to_bytes(8, "big")
    for form in (stored, memoryview(stored)):
        found = code_from_bytes(form, fingerprint)
        assert (found.dtype, found.shape) == (np.uint64, shape)
        assert found.flags.c_contiguous
        assert np.array_equal(found, code)


@pytest.mark.parametrize("fingerprint", sorted(set(FARTHEST_BY) - {KEYPOINTS}))
def test_a_code_of_another_size_is_refused(fingerprint: str) -> None:
    right = 8 * int(np.prod(SHAPES.get(fingerprint, (8, 1))))
    assert code_from_bytes(bytes(right), fingerprint).nbytes == right
    for wrong in (0, right - 8, right + 8, right - 1):
        with pytest.raises(ValueError, match=r"reshape|buffer"):
            code_from_bytes(bytes(wrong), fingerprint)


def test_nothing_is_said_of_a_tail_of_fewer_than_a_hundred() -> None:
    assert Background.of([]) is None
    assert Background.of([10] * 99) is None
    assert Background.of(np.arange(100)) is not None


def test_equal_distances_have_a_spread_of_half_a_bit() -> None:
    found = Background.of([200] * 100)
    assert found == Background(200.0, 0.5)
    assert found.chance(200) > 0.5
    assert found.chance(190) == 0


def test_the_background_is_the_median_and_the_quartile_below_it() -> None:
    drawn = np.random.default_rng(2).normal(200, 20, 20_000).round().astype(np.int64)
    found = Background.of(drawn)
    assert found is not None
    assert found.middle == pytest.approx(200, abs=1)
    assert found.spread == pytest.approx(20, abs=1)
    # A tenth of related images, all of them near, makes chances higher, and not by much.
    related = Background.of([*drawn, *[20] * 2000])
    assert related is not None
    assert found.chance(120) <= related.chance(120) < 0.001


@given(st.lists(st.integers(0, 512), min_size=100, max_size=130))
def test_the_chance_never_falls_with_the_distance(distances: list[int]) -> None:
    found = Background.of(distances)
    assert found is not None
    assert found.spread >= 0.5
    chances = [found.chance(distance) for distance in range(513)]
    assert chances == sorted(chances)
    assert 0 <= chances[0] <= chances[-1] <= 1
    # As near as the middle is every second image, or more: the distance counts as a whole bit.
    assert found.chance(round(found.middle + 0.5)) >= 0.5


def test_the_chance_of_a_normal_background_is_its_share() -> None:
    drawn = np.random.default_rng(3).normal(200, 20, 50_000).round().astype(np.int64)
    found = Background.of(drawn)
    assert found is not None
    for distance in (150, 165, 180):
        # Quartiles of whole bits are up to half a bit off.
        assert found.chance(distance) == pytest.approx(np.mean(drawn <= distance), rel=0.3)
        assert found.chance(distance) == NormalDist(found.middle, found.spread).cdf(distance + 0.5)
