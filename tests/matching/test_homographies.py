"""Homographies through pairs of places, of which many are wrong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.matching.homographies import linear_at, mapped, on_a_line, tilted

SIZE = (500, 400)


def pairs(seed: int, right: int, wrong: int, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    places = rng.uniform((0, 0), SIZE, (right + wrong, 2))
    others = np.concatenate([mapped(true, places[:right]), rng.uniform((0, 0), SIZE, (wrong, 2))])
    return places, others


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(15, 60),
    st.integers(0, 60),
    st.floats(-2e-4, 2e-4),
    st.floats(-2e-4, 2e-4),
)
def test_a_tilt_is_found_whatever_else_is_paired(seed, right, wrong, across, down):
    start = np.array([[0.9, -0.1, 20], [0.1, 0.9, 10], [0, 0, 1]])
    middle = np.array([250.0, 200.0])
    true = start @ np.array([[1, 0, 0], [0, 1, 0], [across, down, 1 - across * middle[0] - down * middle[1]]])
    places, others = pairs(seed, right, wrong, true)
    found = tilted(start, places, others, SIZE, 500)
    before = np.hypot(*(mapped(start, places[:right]) - others[:right]).T)
    after = np.hypot(*(mapped(found, places[:right]) - others[:right]).T)
    # What is paired by chance pulls a little, and of few less is known far from them.
    assert np.median(after) <= max(1.5, np.median(before))


def test_of_few_or_of_places_on_a_line_nothing_is_concluded():
    start = np.array([[1.0, 0, 3], [0, 1, 0], [0, 0, 1]])
    places, _ = pairs(1, 5, 0, np.eye(3))
    assert tilted(start, places, places, SIZE, 500) is start
    line = np.column_stack([np.linspace(0, 400, 30), np.linspace(0, 400, 30)])
    assert tilted(start, line, line, SIZE, 500) is start
    assert tilted(start, np.empty((0, 2)), np.empty((0, 2)), SIZE, 500) is start


def test_no_picture_is_seen_from_behind():
    """Places that only a map with a horizon through the picture explains."""
    true = np.array([[1.0, 0, 0], [0, 1, 0], [-1 / 450, 0, 1]])
    places, others = pairs(2, 80, 0, true)
    near = others[:, 0] < 2000
    found = tilted(np.eye(3), places[near], others[near], SIZE, 500)
    corners = np.array([[0, 0, 1], [500, 0, 1], [500, 400, 1], [0, 400, 1]]) @ found.T
    assert (corners[:, 2] > 0).all()


@pytest.mark.parametrize("place", [(0.0, 0.0), (120.0, 300.0)])
def test_small_steps_are_told_by_the_derivative(place):
    homography = np.array([[0.9, -0.2, 20], [0.1, 1.1, 10], [2e-4, -1e-4, 1]])
    step = 1e-4
    around = np.array(place) + np.array([[0, 0], [step, 0], [0, step]])
    at, across, down = mapped(homography, around)
    wanted = np.column_stack([(across - at) / step, (down - at) / step])
    np.testing.assert_allclose(linear_at(homography, np.array(place)), wanted, atol=1e-5)


def test_two_places_are_on_a_line():
    assert on_a_line(np.array([[0.0, 0], [3, 4]]))
    assert not on_a_line(np.array([[0.0, 0], [3, 4], [6, -4]]))
    assert on_a_line(np.zeros((4, 2)))
