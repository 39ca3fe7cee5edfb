"""The colour hash against imagehash, and the thermometer code against the levels it stands for."""

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.fingerprints.colour import LEVELS, VALUES, colour_hash, colour_levels, thermometer
from app.fingerprints.value import COLOUR_BITS

# Of photos in scikit-image 0.26's wheel, shrunk with Pillow 13; a library that moves a bit fails here.
GOLDEN = {
    "astronaut.png": "0b400018000",
    "coffee.png": "08400038000",
    "rocket.jpg": "01007000000",
    "page.png": "07000000000",
}
LEVEL_LISTS = st.lists(st.integers(0, LEVELS - 1), min_size=VALUES, max_size=VALUES).map(np.array)


def hashed(image: Image.Image) -> int:
    return colour_hash(colour_levels(image))


def assert_imagehash(image: Image.Image) -> None:
    digits = "".join("1" if bit else "0" for bit in imagehash.colorhash(image).hash.ravel())
    assert f"{hashed(image):042b}" == digits


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**32 - 1), st.sampled_from([1, 3, 20, 128]))
def test_noise_gets_imagehashs_bits(width, height, seed, levels):
    noise = np.random.default_rng(seed).integers(0, levels, (height, width, 3)) * (255 // max(levels - 1, 1))
    assert_imagehash(Image.fromarray(noise.astype(np.uint8)))


def test_every_colour_gets_imagehashs_bits():
    """Each hue and saturation there is, at full brightness: the edges of every bin."""
    hue, saturation = np.meshgrid(np.arange(256), np.arange(256))
    hsv = np.stack([hue, saturation, np.full_like(hue, 255)], axis=2).astype(np.uint8)
    image = Image.fromarray(hsv, "HSV").convert("RGB")
    assert_imagehash(image)
    for row in range(0, 256, 5):
        assert_imagehash(image.crop((0, row, 256, row + 1)))
        assert_imagehash(image.crop((row, 0, row + 1, 256)))


@pytest.mark.parametrize("colour", ["black", "white", "#202020", "#1f1f1f", "red", "#55aaaa", "#aa5555"])
def test_flat_pictures_get_imagehashs_bits(colour):
    assert_imagehash(Image.new("RGB", (20, 10), colour))


def test_photos_get_imagehashs_bits(real_photos):
    for image in real_photos.values():
        assert_imagehash(image)


def test_shared_photos_get_imagehashs_bits(shared_photos):
    for path in shared_photos[::60]:
        with Image.open(path) as opened:
            assert_imagehash(opened.convert("RGB"))


@given(LEVEL_LISTS, LEVEL_LISTS)
def test_thermometers_differ_by_the_sum_of_the_levels_differences(one, other):
    distance = np.bitwise_count(thermometer(one) ^ thermometer(other)).sum()
    assert distance == np.abs(one - other).sum() <= COLOUR_BITS


def test_code_shares_digits_between_levels_as_imagehash_does():
    first = [np.array([level] + 13 * [0]) for level in range(LEVELS)]
    assert [colour_hash(levels) >> 39 for levels in first] == [
        0b000,
        0b001,
        0b010,
        0b011,
        0b110,
        0b111,
        0b110,
        0b111,
    ]


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_hashes_have_not_moved(real_photos, name):
    assert f"{hashed(real_photos[name]):011x}" == GOLDEN[name]
