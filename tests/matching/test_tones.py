"""Brightness beside a tone curve, told of what was made with one and of what was not."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from app.matching.tones import residuals

GREYS = np.linspace(5, 250, 60)
ALL = np.ones(60, bool)


@pytest.mark.parametrize(
    "curve",
    [
        lambda grey: grey,
        lambda grey: 0.6 * grey + 30,
        lambda grey: 255 * (grey / 255) ** 1.6,
        lambda grey: np.minimum(1.4 * grey, 255),
        lambda grey: np.clip(2 * grey - 128, 0, 255),
    ],
)
def test_what_a_curve_was_laid_on_is_beside_it_by_little_at_the_median(curve) -> None:
    for own, other in ((GREYS, curve(GREYS)), (curve(GREYS), GREYS)):
        assert np.median(residuals(own, other, ALL)) < 4


def test_a_block_of_another_tone_is_told_and_makes_no_other_one() -> None:
    other = GREYS.copy()
    other[20] += 60
    found = residuals(GREYS, other, ALL)
    assert found[20] == pytest.approx(60, abs=10)
    assert np.delete(found, 20).max() < 10


def test_a_curve_goes_on_beyond_what_is_known() -> None:
    known = (GREYS > 60) & (GREYS < 190)
    assert residuals(GREYS, 0.5 * GREYS + 40, known).max() < 5


def test_shuffled_tones_are_told() -> None:
    other = np.random.default_rng(3).permutation(GREYS)
    assert np.median(residuals(GREYS, other, ALL)) > 20


def test_of_one_grey_any_other_is_told_by_how_much_it_differs_from_it() -> None:
    own, other = np.array([100.0, 100.0, 140.0]), np.array([120.0, 120.0, 110.0])
    assert residuals(own, other, np.array([True, True, False])).tolist() == pytest.approx([0, 0, 50])


def test_where_nothing_lies_is_told() -> None:
    own, other = np.array([[100.0, np.nan], [50.0, 10.0]]), np.array([[100.0, np.nan], [50.0, 10.0]])
    found = residuals(own, other, np.array([[True, False], [True, True]]))
    assert np.isnan(found).tolist() == [[False, True], [False, False]]


@given(
    st.lists(st.tuples(st.floats(0, 255), st.floats(0, 255), st.booleans()), min_size=1, max_size=80),
)
def test_none_is_more_than_greys_can_be_apart(blocks) -> None:
    own, other, alike = (np.array(column) for column in zip(*blocks, strict=True))
    alike[0] = True
    found = residuals(own, other, alike)
    assert (found >= 0).all()
    assert (found <= 255).all()


@given(st.integers(0, 99), st.integers(4, 60), st.floats(0.3, 2.5), st.floats(-40, 40))
def test_of_any_line_little_is_left_where_it_does_not_leave_the_greys(seed, count, gain, shift) -> None:
    greys = np.random.default_rng(seed).uniform(20, 230, count)
    other = gain * greys + shift
    inside = (other > 5) & (other < 250)
    assume(inside.sum() >= 4)
    assume(np.ptp(greys[inside]) > 30)
    found = residuals(greys[inside], other[inside], np.ones(inside.sum(), bool))
    assert np.median(found) < 8


def test_what_is_all_white_in_a_brighter_copy_is_of_its_tone() -> None:
    greys = np.concatenate([np.linspace(40, 170, 30), np.linspace(235, 240, 60)])
    alike = np.arange(90) < 30
    for gain in (1.5, 1.6, 1.8, 2.0):
        copy = np.minimum(gain * greys, 255)
        for own, other in ((greys, copy), (copy, greys)):
            assert residuals(own, other, alike).max() < 14
