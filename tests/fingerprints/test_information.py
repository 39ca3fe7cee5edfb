"""Which pictures have nothing for the hashes to hold on to."""

import io

import numpy as np
import pytest
from PIL import Image

from app.fingerprints.value import FINGERPRINTED, LOW_INFORMATION
from app.fingerprints.whole import fingerprint
from tests.pictures import letter, product, receipt

ROWS, COLUMNS = np.mgrid[:384, :512]
RANDOM = np.random.default_rng(11)


def shade(levels):
    return np.clip(levels, 0, 255).astype(np.uint8)


NEAR_FLAT = {
    "black": shade(0 * ROWS),
    "white": shade(0 * ROWS + 255),
    "grey": shade(0 * ROWS + 120),
    "black with sensor noise": shade(RANDOM.normal(0, 8, ROWS.shape)),
    "grey with fine noise": shade(RANDOM.normal(128, 8, ROWS.shape)),
    "grey with strong noise": shade(RANDOM.normal(128, 14, ROWS.shape)),
    "shaded to one side": shade(120 + 12 * COLUMNS / 512),
    "shaded strongly and noisy": shade(100 + 60 * COLUMNS / 512 + RANDOM.normal(0, 4, ROWS.shape)),
    "white with a speck": np.where((abs(ROWS - 90) < 9) & (abs(COLUMNS - 300) < 9), 0, 255).astype(np.uint8),
    "black with a small light": shade(
        RANDOM.normal(4, 3, ROWS.shape) + 150 * ((abs(ROWS - 60) < 9) & (abs(COLUMNS - 200) < 9))
    ),
    "black half, white half": shade(255 * (COLUMNS > 220)),
    "white above grey": shade(255 - 100 * (ROWS > 100)),
    "vignetted": shade(200 - 32 * (((COLUMNS - 256) / 256) ** 2 + ((ROWS - 192) / 192) ** 2)),
}


@pytest.mark.parametrize("name", NEAR_FLAT)
@pytest.mark.parametrize("quality", [None, 90, 50])
def test_flat_and_near_flat_pictures_are_low_information(name, quality):
    image = Image.fromarray(NEAR_FLAT[name]).convert("RGB")
    if quality:
        file = io.BytesIO()
        image.save(file, "JPEG", quality=quality)
        image = Image.open(file).convert("RGB")
    assert fingerprint(image).information == LOW_INFORMATION


def test_photos_are_fingerprinted(real_photos):
    drawn = {"logo.png", "horse.png", "phantom.png", "chessboard_GRAY.png", "chessboard_RGB.png"}
    found = {name: fingerprint(image).information for name, image in real_photos.items() if name not in drawn}
    assert set(found.values()) == {FINGERPRINTED}, found


@pytest.mark.parametrize("drawn", [receipt, letter, product])
def test_pages_and_products_on_white_are_fingerprinted(drawn):
    for seed in range(5):
        assert fingerprint(shrunk(drawn(seed))).information == FINGERPRINTED


def test_pages_are_told_from_everything_else(real_photos):
    for seed in range(10):
        for scale in (1, 2, 4):
            for page in (receipt(seed, layout=seed), letter(seed)):
                assert fingerprint(shrunk(page, scale)).page
            assert not fingerprint(shrunk(product(seed), scale)).page
    pages = {name for name, image in real_photos.items() if fingerprint(image).page}
    assert pages <= {"page.png", "text.png"}


@pytest.mark.long
def test_hardly_any_shared_photo_is_a_page(shared_photos):
    found = 0
    for path in shared_photos:
        with Image.open(path) as opened:
            opened.draft("RGB", (512, 512))
            image = opened.convert("RGB")
        image.thumbnail((512, 512))
        found += fingerprint(image).page
    assert found < len(shared_photos) / 100


def shrunk(image, scale=1):
    """As it is normalised, after it was made smaller by a whole number."""
    image = image.reduce(scale)
    image.thumbnail((512, 512))
    return image


def test_a_small_thing_on_white_is_fingerprinted():
    image = Image.new("RGB", (512, 384), "white")
    image.paste((40, 40, 40), (200, 150, 232, 182))
    assert fingerprint(image).information == FINGERPRINTED


@pytest.mark.long
def test_no_shared_photo_is_low_information(shared_photos):
    for path in shared_photos:
        with Image.open(path) as opened:
            opened.draft("RGB", (512, 512))
            image = opened.convert("RGB")
        image.thumbnail((512, 512))
        assert fingerprint(image).information == FINGERPRINTED, path
