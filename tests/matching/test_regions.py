import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.matching.regions import LEAST_PIXELS, Box, alike_in_shape

SIDES = st.integers(1, 512)


@given(SIDES, SIDES, SIDES, SIDES)
def test_shape_is_the_ratio_of_the_sides_within_a_tenth(wide: int, high: int, wide2: int, high2: int) -> None:
    alike = alike_in_shape(*(np.array([side]) for side in (wide, high, wide2, high2)))
    turned_around = alike_in_shape(*(np.array([side]) for side in (wide2, high2, wide, high)))
    ratio = max(wide / high / (wide2 / high2), wide2 / high2 / (wide / high))
    assert alike == turned_around
    if abs(ratio - 1.1) > 1e-9:
        assert alike == [ratio < 1.1]


@given(SIDES, SIDES)
def test_only_a_large_box_is_searched_for(wide: int, high: int) -> None:
    assert Box(0, 0, wide, high).searchable == (wide * high >= LEAST_PIXELS)
