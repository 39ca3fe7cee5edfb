"""The whole-image fingerprint against imagehash, bit for bit, in all eight orientations."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from app.fingerprints.orientation import TRANSFORMS, turn
from app.fingerprints.value import (
    COLUMN_OF,
    VERIFIER,
    WHOLE_IMAGE_HASHES,
    colour_code_from_bytes,
    colour_code_to_bytes,
    turned_from_bytes,
    turned_to_bytes,
)
from app.fingerprints.whole import fingerprint

SIZES = st.tuples(st.integers(1, 512), st.integers(1, 512))
# hashes of photos in scikit-image 0.26's wheel, shrunk with Pillow 13; a library that moves a bit fails here
GOLDEN = {
    "astronaut.png": {
        "ahash": "7f7f7fc744f8d050",
        "phash": "c2924c5532bddfc8",
        "dhash": "cd8dd91d897293a7",
        "whash": "7f775fc744f80040",
        "verifier": "c2d692764c9f550f3228bd90dfb1c09bcc15b60a7b25b5e29cf34a51b50a67ac",
    },
    "coffee.png": {
        "ahash": "3f3fbfbb818081c3",
        "phash": "bb8320376c0f3637",
        "dhash": "f3e96933160b1b36",
        "whash": "3f7f3fbb818080c1",
        "verifier": "bb2483cc209e37f24cf10fc336bc37cf32c29b273241330e60cf9936333c773c",
    },
    "rocket.jpg": {
        "ahash": "00002078f8fcfc7c",
        "phash": "c0371bec1be51267",
        "dhash": "e0c0c090909090d1",
        "whash": "000070fcfcfcfc7c",
        "verifier": "c0d937671396ec201bdfe521127e67a19c7e0381fc7e0381ec7a1387e4f81b0f",
    },
    "page.png": {
        "ahash": "1f0f0f0f0f0f0f0f",
        "phash": "81efa4a966d892da",
        "dhash": "ffffffffffffffff",
        "whash": "1f1f0f07070f0f0f",
        "verifier": "817eed31a471a99d664ed00a90c2da02d2469b9ec299db11b36e6e7764b13df9",
    },
}


@settings(max_examples=25, deadline=None)
@given(SIZES, st.integers(0, 2**32 - 1))
def test_noise_gets_imagehashs_bits(definition, size, seed):
    noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    assert_imagehash(definition, Image.fromarray(noise))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.data())
def test_drawn_pictures_full_of_ties_get_imagehashs_bits(definition, size, data):
    colours = st.tuples(*[st.integers(0, 255)] * 3)
    image = Image.new("RGB", size, data.draw(colours))
    draw = ImageDraw.Draw(image)
    for _ in range(data.draw(st.integers(0, 4))):
        left, right = sorted(data.draw(st.tuples(*[st.integers(0, size[0])] * 2)))
        top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, size[1])] * 2)))
        draw.rectangle((left, top, right, bottom), data.draw(colours))
    assert_imagehash(definition, image)


@pytest.mark.parametrize("level", [0, 1, 127, 128, 255])
def test_flat_pictures_get_imagehashs_bits(definition, level):
    assert_imagehash(definition, Image.new("RGB", (512, 384), (level, level, level)))


def test_photos_get_imagehashs_bits(definition, real_photos):
    for name in (
        "astronaut.png",
        "brick.png",
        "cell.png",
        "chelsea.png",
        "page.png",
        "rocket.jpg",
        "text.png",
    ):
        assert_imagehash(definition, real_photos[name])


def test_shared_photos_get_imagehashs_bits(definition, shared_photos):
    for path in random.Random(5).sample(shared_photos, 20):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((512, 512))
        assert_imagehash(definition, image)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_hashes_have_not_moved(real_photos, name):
    found = fingerprint(real_photos[name])
    hashes = {each: f"{value:016x}" for each, value in found.hashes.items() if each in GOLDEN[name]}
    assert hashes | {"verifier": found.verifier_bytes.hex()} == GOLDEN[name]


def test_each_row_is_the_first_row_of_the_turned_picture(real_photos):
    image = real_photos["rocket.jpg"]
    found = fingerprint(image)
    for row, transform in zip(found.turned, TRANSFORMS, strict=True):
        np.testing.assert_array_equal(row, fingerprint(turn(image, transform)).turned[0])


def test_bytes_bring_the_same_words_back(real_photos):
    found = fingerprint(real_photos["coffee.png"])
    stored = turned_to_bytes(found.turned)
    assert len(stored) == 576
    assert int.from_bytes(stored[:8], "big") == found.hashes["ahash"]
    assert int.from_bytes(stored[512:520], "big") == found.hashes["whash_db4"]
    assert found.verifier_bytes == stored[32:64]
    again = turned_from_bytes(stored)
    np.testing.assert_array_equal(again, found.turned)
    assert again.dtype == np.uint64
    np.testing.assert_array_equal(turned_from_bytes(stored[:64] + stored[512:520], rows=1), found.turned[:1])
    code = colour_code_from_bytes(colour_code_to_bytes(found.colour_code))
    np.testing.assert_array_equal(code, found.colour_code)


def test_bytes_from_before_the_ninth_column_are_its_first_eight(real_photos):
    found = fingerprint(real_photos["coffee.png"])
    stored = turned_to_bytes(found.turned[:, :8])
    assert stored == turned_to_bytes(found.turned)[:512]
    np.testing.assert_array_equal(turned_from_bytes(stored), found.turned[:, :8])
    np.testing.assert_array_equal(turned_from_bytes(stored[:64], rows=1), found.turned[:1, :8])


def test_words_are_named_in_their_order(real_photos):
    found = fingerprint(real_photos["coffee.png"])
    assert tuple(found.hashes) == WHOLE_IMAGE_HASHES == ("ahash", "phash", "dhash", "whash", "whash_db4")
    assert {name: int(found.turned[0, column]) for name, column in COLUMN_OF.items()} == found.hashes
    assert found.turned[0, VERIFIER].astype(">u8").tobytes() == found.verifier_bytes


@pytest.mark.parametrize("length", [0, 504, 520, 584])
def test_bytes_of_another_length_are_refused(length):
    with pytest.raises(ValueError, match=r"reshape|array"):
        turned_from_bytes(bytes(length))


def test_a_picture_of_low_information_has_no_segments():
    found = fingerprint(Image.new("RGB", (512, 384), "grey"))
    assert found.information == "low_information"
    assert found.segments == ()


def assert_imagehash(definition, image):
    np.testing.assert_array_equal(
        fingerprint(image).turned[:, :8], definition(image), err_msg=str(image.size)
    )
