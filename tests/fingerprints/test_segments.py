"""Crop-resistant segments against imagehash."""

import random

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from app.fingerprints.orientation import TRANSFORMS, turn
from app.fingerprints.segments import SIDE, boxes, segments, smoothed

# The first segments of photos in scikit-image 0.26's wheel, shrunk with Pillow 13.
GOLDEN = {
    "astronaut.png": ["d98ded991d8d8832", "37293c0c242024a0", "d8cccecc9ce6623f", "c2b11c2e16333331"],
    "coffee.png": ["cfc763337357a6cf", "f0a169e4a6f3b8f4", "f3e96933160b1b36", "c7c5c707cf4c3bb6"],
    "rocket.jpg": ["323024242065f6f6", "e0c0c090909090d1"],
    "page.png": ["ffffffffffffffff", "77fff67efff5fffb"],
}


def assert_imagehash(image: Image.Image) -> None:
    found = [f"{segment.hash:016x}" for segment in segments(image.convert("L"))]
    assert found == [str(each) for each in imagehash.crop_resistant_hash(image).segment_hashes]


@settings(max_examples=8, deadline=None)
@given(st.data())
def test_drawn_pictures_get_imagehashs_segments(data):
    size = data.draw(st.tuples(st.integers(40, 512), st.integers(40, 512)))
    image = Image.new("RGB", size, data.draw(st.sampled_from(["black", "white", "#808080", "#818181"])))
    draw = ImageDraw.Draw(image)
    for _ in range(data.draw(st.integers(0, 6))):
        left, right = sorted(data.draw(st.tuples(*[st.integers(0, size[0])] * 2)))
        top, bottom = sorted(data.draw(st.tuples(*[st.integers(0, size[1])] * 2)))
        draw.ellipse((left, top, right, bottom), data.draw(st.sampled_from(["black", "white", "#828282"])))
    assert_imagehash(image)


def test_photos_get_imagehashs_segments(real_photos):
    for name in ("astronaut.png", "coffee.png", "rocket.jpg", "page.png"):
        assert_imagehash(real_photos[name])


def test_shared_photos_get_imagehashs_segments(shared_photos):
    for path in random.Random(7).sample(shared_photos, 12):
        with Image.open(path) as opened:
            image = opened.convert("RGB")
        image.thumbnail((512, 512))
        assert_imagehash(image)


def test_each_orientation_is_the_difference_hash_of_the_turned_box(real_photos):
    sizes = [(512, 384), (300, 512), (37, 200)]
    for name, size in zip(("astronaut.png", "coffee.png", "rocket.jpg"), sizes, strict=True):
        grey = real_photos[name].convert("L").resize(size)
        for segment in segments(grey):
            box = grey.crop((segment.left, segment.top, segment.right, segment.bottom))
            expected = [str(imagehash.dhash(turn(box, transform))) for transform in TRANSFORMS]
            assert [f"{value:016x}" for value in segment.turned] == expected


def imagehash_boxes(pixels: np.ndarray) -> list[tuple[int, int, int, int]]:
    regions = [
        np.array(sorted(each)) for each in imagehash._find_all_segments(pixels.astype(float), 128, 500)
    ]
    return [(*each.min(axis=0).tolist(), *(each.max(axis=0) + 1).tolist()) for each in regions]


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(12, 40))
def test_boxes_are_those_of_imagehashs_regions(seed, grain):
    coarse = np.random.default_rng(seed).integers(0, 256, (SIDE // grain + 1,) * 2, dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((grain, grain), np.uint8))[:SIDE, :SIDE]
    assert boxes(pixels) == (imagehash_boxes(pixels) or [(0, 0, SIDE, SIDE)])


def test_search_for_dark_regions_stops_as_early_as_imagehashs():
    """A quirk: the pixels around the picture count, so that up to 1,200 of its own are never looked at."""
    pixels = np.full((SIDE, SIDE), 200, np.uint8)
    pixels[:40, :40] = 0
    pixels[-30:, -30:] = 0
    assert boxes(pixels) == imagehash_boxes(pixels) == [(0, 0, SIDE, SIDE), (0, 0, 40, 40)]


def test_median_is_pillows(real_photos):
    square = real_photos["chelsea.png"].convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    expected = square.filter(ImageFilter.GaussianBlur()).filter(ImageFilter.MedianFilter())
    np.testing.assert_array_equal(smoothed(real_photos["chelsea.png"].convert("L")), np.asarray(expected))


def test_flat_picture_is_one_segment_with_its_box():
    (segment,) = segments(Image.new("L", (400, 300), 0))
    assert (segment.left, segment.top, segment.right, segment.bottom) == (0, 0, 400, 300)
    assert segment.hash == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 512), (512, 1), (2, 300)])
def test_thin_pictures_have_segments_of_at_least_a_pixel(size):
    noise = np.random.default_rng(3).integers(0, 256, size[::-1], dtype=np.uint8)
    for segment in segments(Image.fromarray(noise)):
        assert 0 <= segment.left < segment.right
        assert 0 <= segment.top < segment.bottom


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_hashes_have_not_moved(real_photos, name):
    found = [f"{segment.hash:016x}" for segment in segments(real_photos[name].convert("L"))]
    assert found[:4] == GOLDEN[name]
