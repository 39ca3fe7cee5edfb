"""Impulses: told, and taken out of both pictures or of none."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from scipy import ndimage

from app.matching.impulses import median_of_nine, without_impulses
from tests.pictures import photo


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_the_median_is_the_fifth_of_nine(height, width, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width)).astype(np.uint8)
    np.testing.assert_array_equal(median_of_nine(pixels), ndimage.median_filter(pixels, 3, mode="nearest"))


def test_photos_that_are_not_sharper_than_a_camera_stay_as_they_are():
    one, other = (
        photo(name).convert("L").filter(ImageFilter.GaussianBlur(1)) for name in ("astronaut", "coffee")
    )
    assert without_impulses(one, other) == (one, other)


def test_if_one_has_impulses_both_are_filtered():
    clean = photo().convert("L")
    noisy = np.asarray(clean).copy()
    where = np.random.default_rng(1).uniform(size=noisy.shape) < 0.01
    noisy[where] = np.where(noisy[where] > 127, 0, 255)
    one, other = without_impulses(Image.fromarray(noisy), clean)
    assert other != clean
    assert (
        np.abs(np.asarray(one, int) - np.asarray(other, int)).mean()
        < 0.2 * np.abs(noisy.astype(int) - np.asarray(clean, int)).mean()
    )
    assert without_impulses(clean, Image.fromarray(noisy))[0] == other
