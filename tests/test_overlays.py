import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageChops

from app.matching.alignment import overlap_of
from app.matching.evidence import Evidence, of_whole
from app.overlays import MAX_POINTS, draw_overlay
from tests.pictures import drawn, photo

Array = NDArray[np.float64]
Pixels = NDArray[np.int64]
Picture = Image.Image
Texts = tuple[str, str]

# Pixels of the sheet: around everything, a picture's cell, to the next cell and the next panel, above the cells.
MARGIN, CELL, NEXT, PANEL, NEXT_PANEL, TOP = 24, 512, 600, 352, 380, 72
WIDTH, PROOF_CAPTION = 1160, 60
OUTLINE, DIMMED = (255, 176, 0), 0.55
SIZE = (300, 220)
SCALE, BELOW = 512 / 300, (0, 68)  # of such a picture in its cell
SAME, DIFFERENT = 2.5, 30.0  # levels of grey, on average


def shifted(x: float, y: float) -> Array:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def turned(degrees: float, scale: float = 1.0, size: tuple[int, int] = SIZE) -> Array:
    """A picture's middle to that of the astronaut."""
    cos, sin = scale * np.cos(np.radians(degrees)), scale * np.sin(np.radians(degrees))
    middle = shifted(-size[0] / 2, -size[1] / 2)
    return shifted(256, 256) @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]) @ middle


CROP = shifted(120, 40)
MIRRORED = CROP @ np.array([[-1, 0, SIZE[0]], [0, 1, 0], [0, 0, 1]])
TILTED = turned(10) @ np.array([[1, 0, 0], [0, 1, 0], [0.0004, -0.0003, 1]])
NONE = np.empty((0, 2))


def grey() -> Picture:
    """The astronaut: whatever has a colour was drawn over it."""
    return photo().convert("L")


def copied(other: Picture, homography: Array, state: str = "as it is") -> Picture:
    """What of another picture the homography takes a picture to; black beyond."""
    coefficients = (homography / homography[2, 2]).ravel()[:8].tolist()
    copy = other.transform(SIZE, Image.Transform.PERSPECTIVE, coefficients, Image.Resampling.BICUBIC)
    return ImageChops.invert(copy) if "negative" in state else copy


def evidence_of(
    picture: Picture, other: Picture, homography: Array, state: str = "as it is", points: Array = NONE
) -> Evidence:
    """What a perfect comparison would find; the points are of the picture."""
    taken = np.hstack([points, np.ones((len(points), 1))]) @ homography.T
    return replace(
        of_whole("identity", picture.size, other.size),
        state=state,
        homography=homography,
        region=overlap_of(np.linalg.inv(homography), other.size, picture.size),
        other_region=overlap_of(homography, picture.size, other.size),
        points=np.hstack([points, taken[:, :2] / taken[:, 2:]]),
    )


def grid_of_points(columns: int, rows: int) -> Array:
    """Points all over a picture of SIZE."""
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    return np.stack([x.ravel() * SIZE[0], y.ravel() * SIZE[1]], axis=1)


def pixels(png: bytes) -> Pixels:
    with Image.open(io.BytesIO(png)) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"), np.int64)


def overlay(picture: Picture, other: Picture, evidence: Evidence, captions: Texts = ("", "")) -> Pixels:
    return pixels(draw_overlay(picture, other, evidence, captions, ""))


def grey_overlay(homography: Array, points: Array = NONE, captions: Texts = ("", "")) -> Pixels:
    """Of a copy of the grey astronaut."""
    picture = copied(grey(), homography)
    return overlay(picture, grey(), evidence_of(picture, grey(), homography, points=points), captions)


def cells(sheet: Pixels) -> list[Pixels]:
    """Both pictures' cells, of which one is 512 pixels high, and what is between."""
    lefts = (MARGIN, CELL), (MARGIN + NEXT, CELL), (MARGIN + CELL + 8, NEXT - CELL - 16)
    return [sheet[TOP : TOP + CELL, left : left + wide] for left, wide in lefts]


def panels(sheet: Pixels, evidence: Evidence) -> list[Pixels]:
    """The three below: the other's part, the picture's, and both."""
    sides = np.ptp(evidence.other_region, axis=0)
    wide, high = np.round(sides * PANEL / sides.max()).astype(int).tolist()
    bottom = len(sheet) - MARGIN - PROOF_CAPTION
    lefts = [MARGIN + number * NEXT_PANEL + (PANEL - wide) // 2 for number in range(3)]
    return [sheet[bottom - high : bottom, left : left + wide] for left in lefts]


def test_overlay_is_a_png_of_bounded_size() -> None:
    evidence = of_whole("identity", (512, 512), (512, 512))
    png = draw_overlay(photo(), photo(), evidence, ("KD-1", "KD-2"), "Both")

    assert pixels(png).shape == (TOP + CELL + 14 + 44 + PANEL + PROOF_CAPTION + MARGIN, WIDTH, 3)
    assert len(png) < 2_000_000


@pytest.mark.parametrize("homography", [CROP, MIRRORED, turned(30), TILTED])
def test_both_regions_are_outlined_in_one_colour_where_they_are(homography: Array) -> None:
    evidence = evidence_of(copied(grey(), homography), grey(), homography)
    regions = evidence.region * SCALE + BELOW, evidence.other_region

    for cell, region in zip(cells(grey_overlay(homography)), regions, strict=False):
        marked = np.abs(cell - OUTLINE).max(axis=2) <= 12
        for x, y in np.vstack([region, (region + np.roll(region, -1, axis=0)) / 2]).round().astype(int):
            assert marked[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3].any()
        x, y = region.mean(axis=0).astype(int)
        assert not marked[y - 70 : y + 71, x - 70 : x + 71].any()


@pytest.mark.parametrize("level", [0, 150, 255])
def test_outline_is_cased_to_be_seen_on_any_picture(level: int) -> None:
    other, picture = Image.new("L", (512, 512), level), Image.new("L", SIZE, level)
    _, second, _ = cells(overlay(picture, other, evidence_of(picture, other, CROP)))

    across = second[150, 110:130].sum(axis=1)
    assert across.min() <= 3 * 20
    assert across.max() >= sum(OUTLINE) - 12


def test_what_is_outside_the_region_is_dimmed_and_the_inside_unchanged() -> None:
    _, second, _ = cells(grey_overlay(CROP))
    original = np.asarray(grey().convert("RGB"), np.int64)
    outside = np.ones((512, 512), np.bool_)
    outside[30:270, 110:430] = False

    assert np.array_equal(second[50:250, 130:410], original[50:250, 130:410])
    assert np.abs(second[outside] - original[outside] * DIMMED).max() <= 1


def test_points_have_one_colour_in_both_pictures_and_no_other_has_it() -> None:
    points = grid_of_points(6, 4)
    first, second, _ = cells(grey_overlay(CROP, points))
    own, others = (points * SCALE + BELOW).astype(int), np.add(points, (120, 40)).astype(int)
    colours = first[own[:, 1], own[:, 0]]

    assert np.abs(colours - second[others[:, 1], others[:, 0]]).max() <= 2
    assert np.ptp(colours, axis=1).min() > 180
    assert np.abs(colours[:, None] - colours).max(axis=2)[~np.eye(len(points), dtype=np.bool_)].min() >= 20


def test_of_many_points_some_are_drawn_all_over_the_region() -> None:
    points = grid_of_points(8, 5)
    _, second, _ = cells(grey_overlay(CROP, points))
    seen = [(x, y) for x, y in points.tolist() if np.ptp(second[int(y) + 40, int(x) + 120]) > 180]

    assert len(seen) == MAX_POINTS
    assert np.ptp(seen, axis=0).tolist() == np.ptp(points, axis=0).tolist()


def test_lines_join_points_and_let_the_pictures_through() -> None:
    picture, point = Image.new("L", SIZE, "black"), np.array([[100.0, 110.0]])
    picture.paste("white", (200, 0, *SIZE))
    evidence = evidence_of(picture, grey(), CROP, points=point)
    joined, bare = (overlay(picture, grey(), replace(evidence, points=evidence.points[:n])) for n in (1, 0))
    changed = (np.abs(joined - bare).max(axis=2) > 30)[..., None]
    first, _, between = cells(joined * changed)
    on_black, on_white = first[:, 190:330], first[:, 350:500]

    assert (between.sum(axis=2) > 0).any(axis=0).all()
    assert (on_black[..., 0] > 60).any(axis=0).all()
    assert on_black[..., 1].max() < 60
    assert on_white[on_white > 0].min() > 120


@pytest.mark.parametrize("points", [NONE, np.array([[-20.0, 50.0], [200.0, 900.0]])])
def test_without_points_in_both_pictures_no_line_is_drawn(points: Array) -> None:
    assert (cells(grey_overlay(CROP, points))[2] == 255).all()


@pytest.mark.parametrize("state", ["as it is", "negative"])
@pytest.mark.parametrize("homography", [CROP, MIRRORED, turned(30), turned(-75, 0.5), turned(9, 1.4), TILTED])
def test_copy_laid_on_the_other_is_the_same_pixel_by_pixel(homography: Array, state: str) -> None:
    picture = copied(photo(), homography, state)
    evidence = evidence_of(picture, photo(), homography, state)
    part, laid, both = panels(overlay(picture, photo(), evidence), evidence)

    assert np.abs(part - laid).mean() < SAME
    assert np.abs(part - both).mean() < SAME


def test_part_is_what_the_other_shows_inside_the_region() -> None:
    evidence = evidence_of(drawn(1, SIZE), photo(), CROP)
    part, _, _ = panels(overlay(drawn(1, SIZE), photo(), evidence), evidence)
    crop = photo().resize(part.shape[1::-1], Image.Resampling.BICUBIC, (120, 40, 420, 260))

    assert np.array_equal(part, crop)


def test_unrelated_picture_laid_on_the_other_is_seen_to_differ() -> None:
    evidence = evidence_of(drawn(1, SIZE), photo(), CROP)
    part, laid, both = panels(overlay(drawn(1, SIZE), photo(), evidence), evidence)

    assert np.abs(part - laid).mean() > DIFFERENT
    # One square of two is the picture's.
    assert np.abs(part - both).mean() == pytest.approx(np.abs(part - laid).mean() / 2, rel=0.2)


def test_squares_of_both_take_turns() -> None:
    picture, other = Image.new("RGB", (300, 300), "blue"), Image.new("RGB", (512, 512), "red")
    evidence = evidence_of(picture, other, shifted(100, 100))
    *_, both = panels(overlay(picture, other, evidence), evidence)
    turns = np.arange(PANEL) * 6 // PANEL % 2

    assert np.array_equal(both[..., 2] > 127, turns[:, None] != turns)


def test_other_around_a_turned_picture_is_dimmed_in_all_panels() -> None:
    picture, other = Image.new("L", SIZE, 200), Image.new("L", (512, 512), 200)
    evidence = evidence_of(picture, other, turned(30))
    for panel in panels(overlay(picture, other, evidence), evidence):
        assert (panel[len(panel) // 2, PANEL // 2] == 200).all()
        assert (panel[[2, 2, -3, -3], [2, -3, 2, -3]] == 110).all()


def test_region_beyond_the_edge_is_drawn_at_the_edge() -> None:
    evidence = evidence_of(grey(), grey(), np.eye(3))
    beyond = replace(evidence, region=evidence.region * 1.004 - 1, other_region=evidence.region * 1.004 - 1)

    assert np.array_equal(overlay(grey(), grey(), beyond), overlay(grey(), grey(), evidence))


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("size", [(1, 1), (2000, 1), (512, 3), (3, 512), (511, 512)])
@pytest.mark.parametrize("other_size", [(1, 1), (512, 3), (1, 512), (512, 512)])
def test_any_size_can_be_drawn(size: tuple[int, int], other_size: tuple[int, int], mode: str) -> None:
    evidence = replace(of_whole("rotate_90", size, other_size), points=np.array([[0.5, 0.5, 0.5, 0.5]]))

    assert overlay(Image.new(mode, size), Image.new(mode, other_size), evidence).shape[1] == WIDTH


SIZES = st.tuples(st.integers(1, 512), st.integers(1, 512))


@given(SIZES, SIZES, st.floats(-180, 180), st.floats(0.01, 40), st.floats(0, 1), st.floats(0, 1))
@settings(deadline=None, max_examples=40)
def test_any_place_can_be_drawn(
    size: tuple[int, int], other_size: tuple[int, int], degrees: float, scale: float, x: float, y: float
) -> None:
    picture, other = Image.new("RGB", size), Image.new("RGB", other_size)
    homography = shifted(x * other_size[0] - 256, y * other_size[1] - 256) @ turned(degrees, scale, size)
    evidence = evidence_of(picture, other, homography, points=np.array(size)[None] / 2)
    assume(min(len(evidence.region), len(evidence.other_region)) >= 3)
    sheet = overlay(picture, other, Evidence.from_json(evidence.to_json()))

    assert sheet.shape[1] == WIDTH
    assert len(sheet) <= 1100


@pytest.mark.parametrize("place", [(100.0, 100.0), (0.0, 0.0), (512.0, 512.0)])
def test_region_without_extent_is_drawn(place: tuple[float, float]) -> None:
    evidence = evidence_of(drawn(1), photo(), shifted(*place) @ np.diag([1e-3, 1e-3, 1]))
    without = replace(evidence, other_region=np.array([place] * 4))

    assert overlay(drawn(1), photo(), without).shape[1] == WIDTH


@pytest.mark.parametrize(("captions", "left"), [(("W" * 99, ""), MARGIN), (("", "W" * 99), MARGIN + NEXT)])
def test_caption_is_below_its_picture_and_cut_to_its_width(captions: Texts, left: int) -> None:
    sheet = grey_overlay(CROP, captions=captions)
    _, columns = np.nonzero(sheet[TOP + CELL + 12 : TOP + CELL + 36].min(axis=2) < 200)

    assert left <= columns.min() <= left + 15
    assert left + CELL - 15 <= columns.max() < left + CELL


def test_text_that_is_cut_ends_in_an_ellipsis() -> None:
    cut = grey_overlay(CROP, captions=("W" * 99, ""))
    ended = (grey_overlay(CROP, captions=("W" * count + "…", "")) for count in range(30, 40))

    assert any(np.array_equal(cut, sheet) for sheet in ended)


@pytest.mark.parametrize("text", ["two\nlines", "Ü 事故 \U0001f697", "\ud800", "\0\u202e", "W" * 100_000])
def test_any_text_can_be_drawn(text: str) -> None:
    same = of_whole("identity", SIZE, SIZE)
    sheet = pixels(draw_overlay(drawn(1, SIZE), drawn(1, SIZE), same, (text, text), text))

    assert (sheet[: TOP - 8, WIDTH - MARGIN :] == 255).all()
