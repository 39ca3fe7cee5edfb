import hashlib
import io
import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import map_coordinates

from benchmarks.edits import OWNERS
from benchmarks.suite import FAMILIES, SUITE, Edited, edit
from tests.pictures import PHOTOS, photo

SIZE = (480, 360)
BLOCK = 40
SEED = 5
# Salt and pepper leaves 0.79 at the right place, all others 0.94 or more; beside it they leave 0.12 at most.
RIGHT, WRONG = 0.75, 0.25
ASIDE = 12

Scalar = TypeVar("Scalar", bound=np.generic)


def blobs(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """More than a thousand blobs of 12 pixels: no place looks like another, and half the size still shows them."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1] // 12, size[0] // 12, 3), dtype=np.uint8)
    return Image.fromarray(values).resize(size, Image.Resampling.BICUBIC)


@cache
def original() -> Image.Image:
    return blobs(0)


@cache
def others() -> list[Image.Image]:
    return [photo(name) for name in PHOTOS]


@cache
def edited(name: str) -> Edited:
    return edit(name, original(), others(), SEED)


@cache
def shown(name: str) -> NDArray[np.float32]:
    """The edited picture, grey."""
    with Image.open(io.BytesIO(edited(name).jpeg)) as opened:
        return np.asarray(opened.convert("L"), np.float32)


def agreement(name: str, placed: NDArray[np.float64]) -> float:
    """Correlation, without sign, of the photo with what its copy shows at that place: the median of blocks."""
    own, copy = np.asarray(original().convert("L"), np.float32), shown(name)
    # Every second pixel is enough, and four times as fast.
    y, x = np.mgrid[0 : own.shape[0] : 2, 0 : own.shape[1] : 2]
    u, v, w = np.tensordot(placed, np.stack([x + 0.5, y + 0.5, np.ones(x.shape)]), 1)
    u, v = u / w, v / w
    there = map_coordinates(copy, (v - 0.5, u - 0.5), order=1, mode="nearest")
    inside = (u >= 0) & (v >= 0) & (u < copy.shape[1]) & (v < copy.shape[0])
    ours, theirs = blocks(own[y, x]), blocks(there)
    spread = ours.std(1) * theirs.std(1)
    product = (ours * theirs).mean(1) - ours.mean(1) * theirs.mean(1)
    # What is covered by one colour agrees with nothing.
    found = np.divide(product, spread, out=np.zeros_like(product), where=spread > 0)[blocks(inside).all(1)]
    assert len(found) >= 8
    return abs(float(np.median(found)))


def blocks(values: NDArray[Scalar]) -> NDArray[Scalar]:
    """Values of a picture by square blocks of BLOCK / 2 samples a side, one a row."""
    side = BLOCK // 2
    rows, columns = values.shape[0] // side, values.shape[1] // side
    return values.reshape(rows, side, columns, side).swapaxes(1, 2).reshape(rows * columns, side * side)


def moved(right: float, down: float) -> NDArray[np.float64]:
    return np.array([[1, 0, right], [0, 1, down], [0, 0, 1]])


def digests() -> dict[str, list[object]]:
    """What each edit gives: the digest of its bytes, and the place."""
    return {
        name: [hashlib.sha256(edited(name).jpeg).hexdigest(), edited(name).placed.tolist()] for name in SUITE
    }


def test_the_suite_has_the_owners_edits_and_many_more_and_each_has_a_family() -> None:
    assert len(SUITE) >= 57
    assert list(FAMILIES) == list(SUITE)
    assert set(OWNERS) <= set(SUITE)
    assert list(dict.fromkeys(FAMILIES.values())) == [
        "light",
        "compression",
        "crop",
        "turn",
        "frame",
        "overlay",
        "paste",
        "perspective",
        "screen",
        "blur and noise",
        "chained",
    ]


@pytest.mark.parametrize("name", SUITE)
def test_the_photo_is_where_the_edit_says(name: str) -> None:
    placed = edited(name).placed
    assert agreement(name, placed) > RIGHT


@pytest.mark.parametrize("name", SUITE)
def test_the_photo_is_not_beside_it(name: str) -> None:
    placed = edited(name).placed
    assert agreement(name, placed @ moved(ASIDE, 0)) < WRONG
    assert agreement(name, placed @ moved(0, -ASIDE)) < WRONG


@pytest.mark.parametrize("name", [name for name in SUITE if FAMILIES[name] != "blur and noise"])
def test_the_place_is_right_to_a_quarter_of_a_pixel(name: str) -> None:
    # Edits that forget where pixels have their centres are wrong by half of one.
    placed = edited(name).placed
    here = agreement(name, placed)
    for right, down in ((1, 0), (0, 1)):
        before = agreement(name, placed @ moved(-right, -down))
        behind = agreement(name, placed @ moved(right, down))
        # The top of the parabola through the three.
        assert abs((before - behind) / (before - 2 * here + behind) / 2) < 0.25


def test_equal_input_gives_equal_bytes_in_another_process() -> None:
    script = "import json; from tests.test_suite import digests; print(json.dumps(digests()))"
    other = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert json.loads(other.stdout) == digests()


def test_another_seed_takes_another_corner() -> None:
    places = [
        edit("cropped to 30 % at a corner", original(), [], seed).placed[:2, 2].tolist() for seed in range(20)
    ]
    assert len({tuple(place) for place in places}) == 4


def test_a_chain_leaves_two_fifths_of_the_photo_and_a_quarter_of_its_sides() -> None:
    middles = np.stack(np.meshgrid(np.arange(5, 480, 10), np.arange(5, 360, 10), [1]), -1).reshape(-1, 3)
    for seed in range(10):
        copy = edit("chained 1", original(), others(), seed)
        places = middles @ copy.placed.T
        places = places[:, :2] / places[:, 2:]
        with Image.open(io.BytesIO(copy.jpeg)) as opened:
            shown = np.all((places >= 0) & (places < opened.size), axis=1)
        assert shown.mean() > 0.38
        # Of the middle of the photo, where the homography is nearly affine.
        (ax, ay), (bx, by), (cx, cy) = places[[888, 889, 936]].tolist()
        assert abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax)) > 100 * 0.24**2


def test_photos_that_are_small_or_narrow_are_edited_too() -> None:
    for size in ((64, 48), (36, 600), (600, 36)):
        for name in SUITE:
            assert edit(name, blobs(1, size), others(), SEED).jpeg


def test_a_collage_without_enough_other_photos_is_refused() -> None:
    with pytest.raises(ValueError, match="needs 3 other photos, there are 2"):
        edit("collage of 4", original(), others()[:2], SEED)
