"""The Daubechies hash against PyWavelets on the turned pictures."""

import numpy as np
import pytest
import pywt
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.fingerprints.bits import words
from app.fingerprints.daubechies import daubechies_bits
from app.fingerprints.orientation import TRANSFORMS, turn
from app.fingerprints.reduction import reductions

# Of photos in scikit-image 0.26's wheel, shrunk with Pillow 13; a library that moves a bit fails here.
GOLDEN = {
    "astronaut.png": "14045f5d5ff1113e",
    "coffee.png": "2030c7cfefefe020",
    "rocket.jpg": "bf1f00001c1e3fbf",
    "page.png": "c3c3c3c7c3c3c1c3",
}


def coefficients(small: np.ndarray) -> np.ndarray:
    """PyWavelets' own, of one picture at 64 x 64."""
    return pywt.wavedec2(small.astype(float), "db4", mode="periodization", level=3)[0]


@settings(max_examples=40, deadline=None)
@given(st.integers(16, 300), st.integers(16, 300), st.integers(0, 2**32 - 1))
def test_bits_are_pywavelets_up_to_rounding(width, height, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    small = reductions(Image.fromarray(noise)).sixty_four
    for found, picture in zip(daubechies_bits(small), small, strict=True):
        values = coefficients(picture)
        above = values - np.median(values)
        # A weight is rounded by at most 2^-15, of 128 that reach a coefficient of up to 8 x 255.
        clear = np.abs(above) > 0.5
        np.testing.assert_array_equal(found[clear], (above > 0)[clear])
        assert clear.sum() > 32


def test_each_orientation_is_the_first_of_the_turned_picture(real_photos):
    grey = real_photos["coffee.png"].convert("L")
    found = daubechies_bits(reductions(grey).sixty_four)
    for bits, transform in zip(found, TRANSFORMS, strict=True):
        again = daubechies_bits(reductions(turn(grey, transform)).sixty_four)[0]
        np.testing.assert_array_equal(bits, again, err_msg=transform)


@pytest.mark.parametrize("level", [0, 1, 255])
def test_flat_picture_has_no_bit_set(level):
    assert not daubechies_bits(np.full((8, 64, 64), level, np.uint8)).any()


def test_brighter_picture_has_the_same_bits(real_photos):
    small = reductions(real_photos["rocket.jpg"].convert("L")).sixty_four // 2
    np.testing.assert_array_equal(daubechies_bits(small), daubechies_bits(small + np.uint8(100)))


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_hashes_have_not_moved(real_photos, name):
    small = reductions(real_photos[name].convert("L")).sixty_four
    assert f"{words(daubechies_bits(small))[0, 0]:016x}" == GOLDEN[name]
