"""Turning pictures, and turning them back."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from app.fingerprints.orientation import TRANSFORMS, inverse, turn, turned_stack

ARROW = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4))


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_the_inverse_turns_a_picture_back(transform):
    assert turn(turn(ARROW, transform), inverse(transform)).tobytes() == ARROW.tobytes()


def test_names_mean_what_pillow_means_by_them():
    assert turn(ARROW, "mirror").tobytes() == ImageOps.mirror(ARROW).tobytes()
    assert turn(ARROW, "flip").tobytes() == ImageOps.flip(ARROW).tobytes()
    for degrees in (90, 180, 270):
        assert turn(ARROW, f"rotate_{degrees}").tobytes() == ARROW.rotate(degrees, expand=True).tobytes()
    assert turn(ARROW, "transpose").tobytes() == ARROW.rotate(90, expand=True).transpose(1).tobytes()
    assert turn(ARROW, "transverse").tobytes() == ARROW.rotate(270, expand=True).transpose(1).tobytes()


def test_the_eight_orientations_are_all_different():
    assert (
        len({(turn(ARROW, transform).size, turn(ARROW, transform).tobytes()) for transform in TRANSFORMS})
        == 8
    )


def test_a_stack_of_eight_is_what_turning_gives():
    square = np.random.default_rng(1).integers(0, 256, (5, 5), dtype=np.uint8)
    expected = [np.asarray(turn(Image.fromarray(square), transform)) for transform in TRANSFORMS]
    np.testing.assert_array_equal(turned_stack(square, square.T), expected)


def test_an_unknown_transform_is_refused():
    with pytest.raises(KeyError):
        turn(ARROW, "sideways")
    with pytest.raises(ValueError, match="not in"):
        inverse("sideways")
