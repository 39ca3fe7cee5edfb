"""The pattern fingerprint: counted as defined, the same on every machine, and what it does not mind."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.fingerprints import pattern as patterns
from app.fingerprints.pattern import (
    FEATURES,
    block_histograms,
    pattern,
    region_pattern,
)
from app.fingerprints.tiles import Grid, edges_of, grids, tile_boxes
from app.fingerprints.value import Pattern
from tests.pictures import drawn, surface


def distance(left, right):
    return int(np.bitwise_count(left ^ right).sum())


def plain_codes(pixels, points, radius):
    """What neighbours on the circle differ by, in 64ths, (points, h, w): interpolated one by one."""
    padded = np.pad(pixels.astype(int), 3, mode="edge")
    height, width = pixels.shape
    found = []
    for point in range(points):
        angle = 2 * math.pi * point / points
        y, x = round(-radius * math.sin(angle), 9), round(radius * math.cos(angle), 9)
        top, left = math.floor(y), math.floor(x)
        shares = [
            (
                top + down,
                left + right,
                (y - top if down else 1 - y + top) * (x - left if right else 1 - x + left),
            )
            for down in (0, 1)
            for right in (0, 1)
        ]
        weights = [math.floor(share * 64 + 0.5) for _, _, share in shares]
        weights[weights.index(max(weights))] += 64 - sum(weights)
        total = sum(
            weight * padded[3 + dy : 3 + dy + height, 3 + dx : 3 + dx + width]
            for (dy, dx, _), weight in zip(shares, weights, strict=True)
        )
        found.append(total - 64 * pixels.astype(int))
    return np.array(found)


def plain_class(bits):
    changes = sum(bits[at] != bits[at - 1] for at in range(len(bits)))
    return sum(bits) if changes <= 2 else len(bits) + 1


def plain_histograms(pixels, grid, points, radius):
    """Pixel by pixel, from the definition."""
    height, width = pixels.shape
    rows, columns = edges_of(height, grid.rows), edges_of(width, grid.columns)
    differences = plain_codes(pixels, points, radius)
    counts = np.zeros((grid.rows, grid.columns, 2 * (points + 2) ** 2), int)
    for top in range(0, grid.rows, 2):
        for left in range(0, grid.columns, 2):
            bottom, right = min(top + 2, grid.rows), min(left + 2, grid.columns)
            cell = slice(rows[top], rows[bottom]), slice(columns[left], columns[right])
            strengths, own = np.abs(differences[:, *cell]), pixels[cell].astype(int)
            if not own.size:
                continue
            strong = strengths * strengths.size >= strengths.sum()
            bright = own * own.size >= own.sum()
            for y in range(own.shape[0]):
                for x in range(own.shape[1]):
                    signs = plain_class((differences[:, *cell][:, y, x] >= 0).tolist())
                    code = signs * (points + 2) + plain_class(strong[:, y, x].tolist())
                    block = (
                        top + int(y + rows[top] >= rows[min(top + 1, bottom)]),
                        left + int(x + columns[left] >= columns[min(left + 1, right)]),
                    )
                    counts[block[0], block[1], code * 2 + bright[y, x]] += 1
    return counts


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(4, 40), st.integers(4, 40), st.integers(1, 5), st.integers(1, 5))
def test_codes_are_counted_as_defined(seed, height, width, rows, columns):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, rng.choice([2, 4, 256]), (height, width), dtype=np.uint8)
    grid = Grid(min(rows, height // 4), min(columns, width // 4))
    counts, strengths = block_histograms(pixels, grid)
    assert (counts[..., :200] == plain_histograms(pixels, grid, 8, 1)).all()
    assert (counts[..., 200:848] == plain_histograms(pixels, grid, 16, 2)).all()
    assert (counts[..., 848:1048] == plain_histograms(patterns.half(pixels), grid, 8, 1)).all()
    assert strengths.sum() == np.abs(plain_codes(pixels, 8, 1)).sum()


def test_differences_of_black_and_white_fit_into_their_words():
    board = np.indices((40, 40)).sum(axis=0) % 2 * np.uint8(255)
    counts, _ = block_histograms(board.astype(np.uint8), Grid(2, 2))
    assert (counts[..., 200:848] == plain_histograms(board, Grid(2, 2), 16, 2)).all()


def test_values_are_those_of_the_definition():
    """They never change under the name: another definition gets another name."""
    found = pattern(drawn(3).convert("L"))
    assert [f"{int(word):016x}" for word in found.words] == GOLDEN
    assert f"{int(np.bitwise_xor.reduce(found.tiles[~found.flat], axis=None)):016x}" == GOLDEN_TILES


GOLDEN = ["e919c88347b83439", "80e144b5b0de6ac5", "ae9087c6b5872604", "b7f45af807e0ce4b"]
GOLDEN_TILES = "8c9bfc8e80805b99"


def test_one_surface_is_nearer_than_another_however_it_is_turned_lit_and_shifted():
    whole = surface(1, (400, 320))
    cut = whole.crop((20, 10, 340, 250))
    other = whole.crop((60, 50, 380, 290))
    views = [
        cut,
        other,
        cut.transpose(Image.Transpose.ROTATE_90),
        cut.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        cut.point(lambda value: value * 0.6 + 70),
    ]
    words = [pattern(view).words for view in views]
    apart = distance(words[0], pattern(surface(2, period=21)).words)
    assert max(distance(words[0], each) for each in words) < apart / 2


def test_a_mirrored_picture_has_mirrored_tiles():
    picture = surface(4, (384, 384))
    plain, mirrored = pattern(picture), pattern(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT))
    coarse = plain.tiles[:9].reshape(3, 3, 4), mirrored.tiles[:9].reshape(3, 3, 4)
    for row in range(3):
        for column in range(3):
            assert distance(coarse[0][row, column], coarse[1][row, 2 - column]) < 40


def test_a_region_is_fingerprinted_as_the_tile_in_its_place():
    picture = Image.new("L", (400, 400))
    for number in range(4):
        left, top = 200 * (number % 2), 200 * (number // 2)
        picture.paste(surface(number, (200, 200), period=5 + 5 * number), (left, top))
    found = pattern(picture)
    boxes = tile_boxes(400, 400, found.blocks)
    for left, top in ((0, 0), (200, 0), (0, 200), (200, 200)):
        box = (left, top, left + 200, top + 200)
        for region in (region_pattern(picture, box), region_pattern(picture.crop(box))):
            distances = np.bitwise_count(found.tiles[:9] ^ region[0]).sum(axis=1)
            assert boxes[distances.argmin()].tolist() == list(box)
            assert distances.min() < 30


@pytest.mark.parametrize(
    "box", [(-1, 0, 100, 100), (0, 0, 401, 100), (0, 0, 100, 301), (50, 50, 50, 100), (0, 0, 36, 200)]
)
def test_a_region_outside_or_too_small_is_refused(box):
    with pytest.raises(ValueError, match="region"):
        region_pattern(surface(1, (400, 300)), box)


@pytest.mark.parametrize(
    ("size", "box"), [((5000, 5), (0, 0, 1, 5)), ((5, 5000), (0, 9, 5, 10)), ((512, 2), (0, 0, 1, 1))]
)
def test_a_region_that_has_hardly_a_pixel_is_refused(size, box):
    with pytest.raises(ValueError, match="too narrow"):
        region_pattern(Image.effect_noise(size, 60), box)


def test_a_pattern_comes_back_from_its_bytes_and_from_no_others():
    found = pattern(surface(3))
    parts = found.to_bytes()
    again = Pattern.from_bytes(*parts)
    assert again.to_bytes() == parts
    assert (again.flat == found.flat).all()
    for place in range(4):
        for wrong in (parts[place][:-1], parts[place] + b"\0", b""):
            with pytest.raises(ValueError, match="pattern"):
                Pattern.from_bytes(*parts[:place], wrong, *parts[place + 1 :])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3), (5000, 2), (200, 200), (640, 480), (480, 853)])
def test_every_size_has_a_fingerprint_with_the_tiles_that_its_boxes_tell(size):
    found = pattern(Image.effect_noise(size, 60))
    boxes = tile_boxes(*size, found.blocks)
    assert found.words.shape == (4,)
    assert found.tiles.shape == (len(boxes), 4)
    assert found.flat.shape == (len(boxes),)
    assert len(boxes) <= patterns.MOST_TILES
    assert boxes.min() == 0
    assert boxes[:, 2].max() == size[0]
    assert boxes[:, 3].max() == size[1]
    coarse, fine = grids(*size)
    assert len(boxes) == len(coarse.tiles()) + len(fine.tiles())


def test_tiles_without_a_pattern_are_flat():
    picture = Image.new("L", (400, 400), 200)
    assert pattern(picture).flat.all()
    picture.paste(surface(1, (200, 200)), (0, 0))
    found = pattern(picture)
    flat, boxes = found.flat, tile_boxes(400, 400, found.blocks)
    inside = (boxes[:, 2] <= 200) & (boxes[:, 3] <= 200)
    outside = (boxes[:, 0] > 200) | (boxes[:, 1] > 200)
    assert not flat[inside].any()
    assert flat[outside].all()


def test_features_are_shares():
    counts = np.ones((1, FEATURES), np.int32)
    found = patterns.features(counts) / 4096
    assert (found[0, :200] ** 2).sum() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("box", [None, (100, 50, 300, 200)])
def test_region_that_nothing_is_on_has_no_pattern(box: tuple[int, int, int, int] | None) -> None:
    blank = Image.new("L", (400, 300), 230)
    blank.putpixel((5, 5), 0)
    with pytest.raises(ValueError, match="no pattern"):
        region_pattern(blank, box)
