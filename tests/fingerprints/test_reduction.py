"""The fast reductions against Pillow's own, pixel for pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.fingerprints import reduction
from app.fingerprints.reduction import Reductions, plain_reductions, reductions


def assert_equal(grey):
    fast, plain = reductions(grey), plain_reductions(grey)
    for name in Reductions.__slots__:
        np.testing.assert_array_equal(
            getattr(fast, name), getattr(plain, name), err_msg=f"{name} of {grey.size}"
        )


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 512), st.integers(1, 512), st.integers(0, 2**32 - 1))
def test_noise_of_any_size_is_reduced_as_pillow_does(width, height, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    assert_equal(Image.fromarray(noise))


@pytest.mark.parametrize("height", [255, 256, 257, 258, 259, 309, 310, 311, 312, 313, 314])
def test_both_sides_of_pillows_choice_of_the_first_axis_agree(height):
    noise = np.random.default_rng(height).integers(0, 256, (height, 160), dtype=np.uint8)
    assert_equal(Image.fromarray(noise))
    assert_equal(Image.fromarray(noise.T))


@pytest.mark.parametrize("size", [(1, 1), (1, 512), (512, 1), (8, 8), (9, 8), (32, 32), (64, 64), (512, 512)])
def test_the_smallest_and_the_exact_sizes_are_reduced_as_pillow_does(size):
    noise = np.random.default_rng(7).integers(0, 256, size[::-1], dtype=np.uint8)
    assert_equal(Image.fromarray(noise))


def test_the_fast_way_is_the_one_in_use():
    assert reduction._pillow_agrees()


@pytest.mark.parametrize("lengths", [range(1, 65), range(65, 512, 19), [341, 384, 512]])
def test_weights_are_symmetric(lengths):
    for length in lengths:
        for side in (8, 9, 32, 64):
            weights = reduction._lanczos(length, side)
            np.testing.assert_array_equal(weights, weights[::-1, ::-1], err_msg=f"{length} to {side}")


def test_another_pillow_is_served_by_pillow_itself(monkeypatch):
    monkeypatch.setattr(reduction, "_height_goes_first", lambda *sizes: False)
    reduction._pillow_agrees.cache_clear()
    try:
        assert not reduction._pillow_agrees()
        assert_equal(Image.fromarray(np.random.default_rng(3).integers(0, 256, (400, 90), dtype=np.uint8)))
    finally:
        reduction._pillow_agrees.cache_clear()


@pytest.mark.long
def test_weights_are_symmetric_for_every_length():
    test_weights_are_symmetric(range(1, 513))
