"""Where a region is found again: the compiled loop against the plain one, and on drawn surfaces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from app.fingerprints.pattern import pattern, region_pattern
from app.fingerprints.tiles import grids
from app.fingerprints.value import Pattern
from app.matching.places import FARTHEST, Tiles, box_of
from tests.pictures import surface


def plain_nearest(found, size, region):
    """By comparing the edges of tiles, as shares of the picture."""
    coarse, fine = grids(*size)
    bits, fine_bits = (
        np.where(found.flat, 256, np.bitwise_count(found.tiles ^ words).sum(axis=1)).tolist()
        for words in region
    )
    first_fine = len(coarse.tiles())
    best = FARTHEST, 0
    for place, (row, column) in enumerate(coarse.tiles()):
        inside = [
            fine_bits[first_fine + number]
            for number, (fine_row, fine_column) in enumerate(fine.tiles())
            if fine_row * coarse.rows >= row * fine.rows
            and (fine_row + 2) * coarse.rows <= (row + 2) * fine.rows
            and fine_column * coarse.columns >= column * fine.columns
            and (fine_column + 2) * coarse.columns <= (column + 2) * fine.columns
        ]
        if not found.flat[place]:
            best = min(best, (bits[place] + min(inside), place))
    return best


sizes = st.sampled_from([(200, 200), (640, 480), (480, 640), (300, 400), (1000, 300), (90, 100)])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.lists(sizes, max_size=4), st.sampled_from([0, 0.3, 1]))
def test_the_nearest_place_is_that_of_the_plain_comparison(seed, sizes, flat):
    rng = np.random.default_rng(seed)
    counts = [sum(len(grid.tiles()) for grid in grids(*size)) for size in sizes]
    # Few bits, so that there are ties.

    def words(count):
        return rng.integers(0, 4, (count, 4), dtype=np.uint64) << np.uint64(62)

    blocks = [
        np.array([part for grid in grids(*size) for part in (grid.rows, grid.columns)], np.uint8)
        for size in sizes
    ]
    found = [
        Pattern(words(1)[0], words(count), rng.random(count) < flat, shape)
        for count, shape in zip(counts, blocks, strict=True)
    ]
    region = words(2)
    distances, places = Tiles.of(found).nearest(region)
    expected = [plain_nearest(each, size, region) for each, size in zip(found, sizes, strict=True)]
    assert list(zip(distances.tolist(), places.tolist(), strict=True)) == expected


def test_tiles_that_are_not_those_of_their_blocks_are_refused():
    found = Tiles.of([pattern(surface(1))])
    words, flat, starts, blocks = found.words, found.flat, found.starts, found.blocks
    for wrong in (
        (words[1:], flat, starts, blocks),
        (words, flat[1:], starts, blocks),
        (words, flat, starts + 1, blocks),
        (words, flat, starts, blocks + np.uint8(1)),
        (words, flat, starts, blocks * np.uint8(0)),
        (words, flat, starts, blocks + np.uint8(12)),
    ):
        with pytest.raises(ValueError, match="blocks"):
            Tiles(*wrong)


def test_a_region_is_found_in_its_place_and_elsewhere_not():
    picture = Image.new("L", (640, 480), 128)
    picture.paste(surface(5, (240, 240), period=6), (320, 240))
    others = [surface(number, (640, 480), period=20 + number) for number in range(3)]
    patterns = [pattern(each) for each in (*others, picture)]
    region = region_pattern(picture, (330, 250, 550, 470))
    distances, places = Tiles.of(patterns).nearest(region)
    assert distances.argmin() == 3
    assert distances[3] < 60 < 120 < distances[:3].min()
    left, top, right, bottom = box_of(int(places[3]), 640, 480, patterns[3].blocks)
    assert left < 440 < right
    assert top < 360 < bottom
