"""Laying pictures on each other: copies lie well and where they are, other pictures do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps
from skimage import data

from app.matching import alignment
from app.matching.alignment import BLOCK, LEAST_BLOCKS, align, overlap_of
from app.matching.alignment_kernels import (
    LEFT_OUT,
    average_blocks,
    compare_blocks,
    heaviest_rectangle,
    normalise_locally,
)

WHERE_IT_IS = np.eye(3)


def picture(name: str, long_side: int = 400) -> Image.Image:
    found = Image.fromarray(getattr(data, name)()).convert("L")
    found.thumbnail((long_side, long_side))
    return found


def moved(where: np.ndarray, *, right: float, down: float, turned: float = 0.0) -> np.ndarray:
    """The same map, a little wrong."""
    turn = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    return np.vstack(
        [np.column_stack([turn @ where[:2, :2], turn @ where[:2, 2] + (right, down)]), [0, 0, 1]]
    )


def off(homography: np.ndarray, wanted: np.ndarray, size: tuple[int, int]) -> float:
    """By how many pixels of the stored picture the corners of a query of that size are put wrong at most."""
    corners = np.array([[0, 0, 1], [size[0], 0, 1], [size[0], size[1], 1], [0, size[1], 1]], float)
    there, true = corners @ homography.T, corners @ wanted.T
    return float(np.abs(there[:, :2] / there[:, 2:] - true[:, :2]).max())


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_crop_is_laid_where_it_was_cut_from(name):
    stored = picture(name)
    left, top = 60, 40
    query = stored.crop((left, top, left + 200, top + 180)).resize((300, 270), Image.Resampling.BICUBIC)
    true = np.array([[200 / 300, 0, left], [0, 180 / 270, top], [0, 0, 1]])
    found = align(query, stored, [moved(true, right=5, down=-4, turned=0.03)])
    assert found is not None
    assert found.score > 0.97
    assert off(found.homography, true, query.size) < 1.5


def test_a_turned_and_mirrored_copy_is_laid_on_its_source():
    stored = picture("astronaut")
    query = stored.transpose(Image.Transpose.TRANSPOSE)
    true = np.array([[0, 1.0, 0], [1.0, 0, 0], [0, 0, 1]])
    found = align(query, stored, [moved(true, right=4, down=-3)])
    assert found is not None
    assert found.score > 0.97
    assert off(found.homography, true, query.size) < 1.5


def test_a_tilted_copy_is_laid_by_a_homography():
    stored = picture("coffee")
    width, height = stored.size
    tilt = (1.04, 0.03, 4.0, 0.02, 1.02, 3.0, 1e-4, 1.5e-4)  # from the query's pixels to the stored picture's
    query = stored.transform(stored.size, Image.Transform.PERSPECTIVE, tilt, Image.Resampling.BICUBIC)
    true = np.append(tilt, 1).reshape(3, 3)
    found = align(query, stored, [WHERE_IT_IS])
    assert found is not None
    assert found.score > 0.95
    inner = np.array(
        [[40, 40, 1], [width - 60, 40, 1], [width - 60, height - 60, 1], [40, height - 60, 1]], float
    )
    there, wanted = inner @ found.homography.T, inner @ true.T
    assert np.abs(there[:, :2] / there[:, 2:] - wanted[:, :2] / wanted[:, 2:]).max() < 2


def test_a_negative_is_laid_on_its_source_only_if_taken_for_one():
    stored = picture("chelsea")
    found = align(ImageOps.invert(stored), stored, [WHERE_IT_IS], negative=True)
    assert found is not None
    assert found.score > 0.99
    as_it_is = align(ImageOps.invert(stored), stored, [WHERE_IT_IS])
    assert as_it_is is None or as_it_is.score < 0.3


def test_what_is_stuck_over_a_third_of_a_copy_changes_little():
    stored = picture("astronaut")
    query = stored.copy()
    ImageDraw.Draw(query).rectangle((0, 0, query.width, query.height // 3), fill=128)
    found = align(query, stored, [moved(WHERE_IT_IS, right=4, down=3)])
    assert found is not None
    assert found.score > 0.9
    assert off(found.homography, WHERE_IT_IS, stored.size) < 2


@pytest.mark.parametrize(
    ("one", "other"), [("astronaut", "coffee"), ("chelsea", "astronaut"), ("coffee", "chelsea")]
)
def test_another_picture_does_not_lie_well(one, other):
    found = align(picture(one), picture(other), [WHERE_IT_IS])
    assert found is None or found.score < 0.5


def test_pictures_beside_each_other_do_not_overlap():
    stored = picture("coffee")
    assert align(stored, stored, [moved(WHERE_IT_IS, right=1000, down=0)]) is None
    assert align(stored, stored, [moved(WHERE_IT_IS, right=stored.width - 10, down=0)]) is None


def test_flat_pictures_have_nothing_to_compare():
    flat = Image.new("L", (300, 200), 90)
    found = align(flat, flat, [WHERE_IT_IS])
    assert found is None or (found.score, found.blocks) == (-1.0, 0)


def test_straight_edges_are_not_compared():
    edge = Image.new("L", (320, 240), 60)
    ImageDraw.Draw(edge).rectangle((0, 120, 320, 240), fill=200)
    found = align(edge, edge, [WHERE_IT_IS])
    assert found is None or found.blocks < LEAST_BLOCKS
    assert found is None or found.score == -1.0


@given(
    st.integers(20, 300),
    st.integers(20, 300),
    st.floats(-150, 250),
    st.floats(-150, 250),
    st.floats(-3.1, 3.1),
)
def test_an_overlap_is_what_lies_in_both_pictures(width, height, right, down, turn):
    cosine, sine = np.cos(turn), np.sin(turn)
    homography = np.array([[cosine, -sine, right], [sine, cosine, down], [0, 0, 1]])
    polygon = overlap_of(homography, (width, height), (200, 150))
    x, y = (axis.ravel() + 0.5 for axis in np.meshgrid(np.arange(200), np.arange(150)))
    back = np.linalg.inv(homography) @ np.stack([x, y, np.ones_like(x)])
    inside = (back[0] >= 0) & (back[0] <= width) & (back[1] >= 0) & (back[1] <= height)
    area = 0.0
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        area += 0.5 * (ax * by - bx * ay)
    # Pixels on the outline are counted in or out: there are fewer of them than its length.
    assert abs(area) == pytest.approx(inside.sum(), abs=500)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 8), st.integers(0, 2**32 - 1))
def test_local_normalisation_is_what_it_says(height, width, reach, seed):
    pixels = np.random.default_rng(seed).uniform(0, 255, (height, width)).astype(np.float32)
    found = np.empty_like(pixels)
    normalise_locally(pixels, reach, 3.0, found)
    for y, x in [(0, 0), (height - 1, width - 1), (height // 2, width // 2)]:
        around = pixels[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1].astype(float)
        wanted = (pixels[y, x] - around.mean()) / np.sqrt(around.var() + 9)
        assert found[y, x] == pytest.approx(wanted, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(BLOCK, 40), st.integers(BLOCK, 40))
def test_blocks_are_correlated_as_defined(seed, height, width):
    template, picture = np.random.default_rng(seed).uniform(0, 255, (2, height, width)).astype(np.float32)
    # With a margin, so that every pixel of the template lies on the picture, however the warp is rounded.
    around = np.pad(picture, 1)
    normal = template - template.mean(), around - around.mean()
    unit = 0.5 * max(height, width)
    warp = np.array([[unit, 0, 0.5 * (width + 1)], [0, unit, 0.5 * (height + 1)], [0, 0, 1.0]])
    scores, shifts = np.empty((height // BLOCK, width // BLOCK), np.float32), np.empty(100, np.float32)
    count = compare_blocks(template, *normal, warp, BLOCK, 0.0, scores, shifts)
    wanted = [
        np.corrcoef(
            template[top : top + BLOCK, left : left + BLOCK].ravel(),
            picture[top : top + BLOCK, left : left + BLOCK].ravel(),
        )[0, 1]
        for top in range(0, height - BLOCK + 1, BLOCK)
        for left in range(0, width - BLOCK + 1, BLOCK)
    ]
    assert count == len(wanted)
    np.testing.assert_allclose(scores.ravel(), wanted, atol=1e-3)


@pytest.mark.parametrize(("right", "down"), [(0.0, 0.0), (0.4, 0.0), (0.0, -0.3), (0.3, 0.3)])
def test_blocks_are_shifted_by_as_many_pixels_as_they_lie_beside_where_they_should(right, down):
    template = np.asarray(picture("coffee", 200), np.float32)
    template = template - template.mean()
    height, width = template.shape
    unit = 0.5 * max(height, width)
    warp = np.array([[unit, 0, 0.5 * (width - 1) + right], [0, unit, 0.5 * (height - 1) + down], [0, 0, 1.0]])
    scores, shifts = np.empty((height // BLOCK, width // BLOCK), np.float32), np.empty(1000, np.float32)
    count = compare_blocks(template, template, template, warp, BLOCK, 0.7, scores, shifts)
    assert count == np.count_nonzero(scores != LEFT_OUT)
    assert count > 50
    assert np.median(shifts[:count]) == pytest.approx(np.hypot(right, down), abs=0.15)


@given(st.lists(st.lists(st.sampled_from([-3.0, -2.0, -0.5, 0.0, 1.0]), min_size=5, max_size=5), max_size=5))
def test_the_heaviest_rectangle_is_heavier_than_all_others(rows):
    weights = np.array(rows, np.float64).reshape(-1, 5)
    found = np.empty(4, np.int64)
    heaviest_rectangle(weights, found)
    top, bottom, left, right = found.tolist()
    sums = [
        weights[a:b, c:d].sum()
        for a in range(len(weights))
        for b in range(a + 1, len(weights) + 1)
        for c in range(5)
        for d in range(c + 1, 6)
    ]
    assert weights[top:bottom, left:right].sum() == max([0.0, *sums])


def test_what_differs_together_is_told_and_what_is_the_same_together():
    whole, other = picture("coffee"), picture("astronaut").crop((100, 20, 260, 140))
    patched = whole.copy()
    patched.paste(other, (200, 100))
    found = align(whole, patched, [WHERE_IT_IS])
    assert found is not None
    of_patch = 160 * 120 / (whole.width * whole.height)
    assert 0.5 * of_patch < found.apart < 2 * of_patch
    assert found.together > 0.7
    same = align(whole, whole, [WHERE_IT_IS])
    assert same is not None
    assert same.apart == 0
    assert same.together > 0.9


def test_block_means_are_those_of_what_lies_there():
    rng = np.random.default_rng(4)
    template = rng.uniform(0, 255, (30, 40)).astype(np.float32)
    unit = 0.5 * 40
    shifted = np.array([[unit, 0, 0.5 * 39 + 5], [0, unit, 0.5 * 29 + 2], [0, 0, 1]])
    means = np.empty((2, 3, 2), np.float32)
    average_blocks(template, template, shifted, 12, 1, means)
    for row in range(2):
        for column in range(3):
            top, left = 12 * row, 12 * column
            own = template[top + 2 : top + 14, left + 5 : left + 17]
            if left + 17 > 39 or top + 14 > 29:
                assert np.isnan(means[row, column]).all()
            else:
                there = template[top : top + 12, left : left + 12]
                assert means[row, column] == pytest.approx([own.mean(), there.mean()], rel=1e-5)


def test_of_several_starts_the_best_leads_where_it_lies():
    stored = picture("astronaut")
    query = stored.crop((60, 40, 260, 220))
    true = np.array([[1.0, 0, 60], [0, 1.0, 40], [0, 0, 1]])
    wrong = np.array([[1.4, 0.5, -30], [0.0, 0.9, 30], [0, 0, 1]])
    led_astray = align(query, stored, [wrong])
    assert led_astray is not None
    assert led_astray.alike < 0.5 * led_astray.blocks
    for starts in ((wrong, true), (true, wrong)):
        found = align(query, stored, starts)
        assert found is not None
        assert off(found.homography, true, query.size) < 1
    assert align(query, stored, []) is None
    nothing_to_see = np.array([[0.09, 0, 100], [0, 0.1, 100], [0, 0, 1]])
    found = align(query, stored, [nothing_to_see, true])
    assert found is not None
    assert off(found.homography, true, query.size) < 1


def test_what_is_given_up_in_the_first_frame_tells_the_second_one():
    one, other = picture("astronaut"), picture("coffee").resize(picture("astronaut").size)
    found = align(one, other, [WHERE_IT_IS])
    assert found is not None
    assert found.alike < 0.3 * found.blocks
    assert found.frame == 320
    small = align(one.resize((150, 150)), other.resize((150, 150)), [WHERE_IT_IS])
    assert small is not None
    assert small.frame == 150


@pytest.mark.parametrize("curve", [lambda grey: 0.6 * grey + 40, lambda grey: 255 * (grey / 255) ** 1.5])
def test_what_a_tone_curve_was_laid_on_leaves_no_residual(curve):
    whole = picture("coffee")
    greys = np.asarray(whole, float)
    found = align(Image.fromarray(np.clip(curve(greys), 0, 255).astype(np.uint8)), whole, [WHERE_IT_IS])
    assert found is not None
    assert found.residual < 1.5
    assert found.frame == 320
    uneven = 20 * np.sin(np.arange(whole.width) / 30) * np.cos(np.arange(whole.height) / 25)[:, None]
    other = align(Image.fromarray(np.clip(greys + uneven, 0, 255).astype(np.uint8)), whole, [WHERE_IT_IS])
    assert other is not None
    assert other.residual > 3


def test_flat_blocks_of_another_tone_differ():
    whole = picture("coffee")
    one, other = whole.copy(), whole.copy()
    for page, grey in ((one, 60), (other, 200)):
        page.paste(grey, (40, 40, 360, 220))
    found = align(one, other, [WHERE_IT_IS])
    assert found is not None
    assert found.apart > 0.5
    assert found.together < 0.28


def test_what_lies_on_a_line_alone_can_not_be_laid(monkeypatch):
    picture = Image.effect_noise((120, 90), 60)
    monkeypatch.setattr(alignment, "_refined", lambda *_: np.diag([1.0, 0.0, 1.0]))
    assert align(picture, picture, [np.eye(3)]) is None


def test_a_copy_is_shifted_by_little_and_things_that_moved_by_more():
    stored = picture("coffee")
    noisy = np.asarray(stored, float) + np.random.default_rng(1).normal(0, 12, (stored.height, stored.width))
    noisy = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    found = align(noisy, stored, [moved(WHERE_IT_IS, right=3, down=2)])
    assert found is not None
    assert found.shift < 0.4
    # Two halves that a homography can't bring together, as where one thing stands before another.
    apart = stored.copy()
    half = (0, 0, stored.width // 2, stored.height)
    apart.paste(stored.crop(half), (-3, 2))
    apart.paste(stored.crop((half[2] - 3, 0, stored.width, stored.height)), (half[2], -2))
    other = align(apart, stored, [WHERE_IT_IS])
    assert other is not None
    assert other.alike > 0.7 * other.blocks
    assert other.shift > 0.6


def test_no_frame_shows_more_than_the_smaller_picture_has():
    stored = picture("astronaut")
    query = stored.resize((90, 90), Image.Resampling.LANCZOS)
    found = align(query, stored, [np.diag([stored.width / 90, stored.height / 90, 1.0])])
    assert found is not None
    assert found.blocks <= (90 // BLOCK + 1) ** 2
    assert found.score > 0.95
    assert found.shift < 0.3


def test_a_map_to_a_line_lays_nothing_on_anything():
    stored = picture("coffee")
    assert align(stored, stored, [np.array([[1.0, 2, 0], [2, 4, 0], [0, 0, 1]])]) is None
