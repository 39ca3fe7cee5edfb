import io

import numpy as np
import pytest
from PIL import Image

from app.contact_sheets import MEAN_SIDE, contact_sheet, mean_picture
from tests.pictures import drawn

BLUE, RED = (0, 0, 255), (200, 0, 0)
CELL, GAP, ROW = 144, 10, 170  # pixels: a cell's side, around it, from one row of cells to the next
OUTLINE = (31, 105, 193)


def pixels(png: bytes) -> np.ndarray:
    picture = Image.open(io.BytesIO(png))
    assert picture.format == "PNG"
    return np.asarray(picture.convert("RGB"))


def flat(colour: tuple[int, int, int], size: tuple[int, int] = (400, 400)) -> Image.Image:
    return Image.new("RGB", size, colour)


def box_of(sheet: np.ndarray, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """Left, top, width and height of all that is nearly of a colour."""
    rows, columns = np.nonzero(np.abs(sheet.astype(int) - colour).max(axis=2) <= 2)
    return (
        int(columns.min()),
        int(rows.min()),
        int(np.ptp(columns)) + 1,
        int(np.ptp(rows)) + 1,
    )


def caption(sheet: np.ndarray, column: int = 0) -> np.ndarray:
    """What is below the first row's thumbnail, as far as the next one's caption."""
    left = GAP + column * (CELL + GAP)
    return sheet[GAP + CELL + 6 : ROW, left : left + CELL + GAP]


@pytest.mark.parametrize("size", [(400, 100), (100, 400), (1600, 400)])
def test_thumbnails_keep_their_proportions(size: tuple[int, int]) -> None:
    left, top, wide, high = box_of(pixels(contact_sheet([(flat(RED, size), "")])), RED)

    assert wide / high == size[0] / size[1]
    assert max(wide, high) == CELL if max(size) >= CELL else max(size)
    assert (2 * left + wide, 2 * top + high) == (2 * GAP + CELL, 2 * GAP + CELL)


def test_picture_thinner_than_a_pixel_is_still_seen() -> None:
    assert box_of(pixels(contact_sheet([(flat(RED, (5000, 2)), "")])), RED)[2:] == (CELL, 1)


def test_small_picture_is_not_enlarged() -> None:
    assert box_of(pixels(contact_sheet([(flat(RED, (30, 20)), "")])), RED)[2:] == (30, 20)


def test_full_sheet_has_six_rows_of_eight() -> None:
    sheet = pixels(contact_sheet([(flat(RED), "")] * 48))

    assert sheet.shape == (6 * ROW + GAP, 8 * (CELL + GAP) + GAP, 3)
    assert np.array_equal(sheet[5 * ROW + GAP + CELL // 2, -GAP - CELL // 2], RED)


def test_ninth_picture_begins_the_second_row() -> None:
    sheet = pixels(contact_sheet([(flat(RED), "")] * 8 + [(flat(BLUE), "")]))

    assert box_of(sheet, BLUE) == (GAP, ROW + GAP, CELL, CELL)


def test_first_picture_alone_is_outlined() -> None:
    sheet = pixels(contact_sheet([(flat(RED), "")] * 9))

    assert box_of(sheet, OUTLINE) == (GAP - 4, GAP - 4, CELL + 8, CELL + 8)


def test_caption_is_drawn_below_its_picture() -> None:
    sheet = pixels(contact_sheet([(flat(RED), ""), (flat(RED), "KD-1")]))

    assert (caption(sheet, 0) == 255).all()
    assert caption(sheet, 1).min() < 100


def test_long_caption_is_cut_to_its_cell() -> None:
    sheet = pixels(contact_sheet([(flat(RED), "W" * 64), (flat(RED), "")]))

    assert (caption(sheet)[:, CELL:] == 255).all()
    assert caption(sheet)[:, CELL // 2 : CELL].min() < 100


def test_cut_caption_ends_in_an_ellipsis() -> None:
    cut = contact_sheet([(flat(RED), "W" * 64)])

    # As many as fit: one more, and this caption would be cut itself.
    assert cut == contact_sheet([(flat(RED), "W" * 12 + "…")])
    assert cut != contact_sheet([(flat(RED), "W" * 12)])


@pytest.mark.parametrize(
    "text", ["two\nlines", "Ünfall 事故 \U0001f697", "\ud800", "\x00\u202e", "x" * 100_000]
)
def test_any_caption_can_be_drawn(text: str) -> None:
    assert pixels(contact_sheet([(flat(RED), text)])).shape == (ROW + GAP, CELL + 2 * GAP, 3)


def test_pictures_given_are_left_as_they_were() -> None:
    picture = drawn(1)

    contact_sheet([(picture, "KD-1")])

    assert picture.size == (320, 240)
    assert picture.tobytes() == drawn(1).tobytes()


@pytest.mark.parametrize("count", [0, 49])
def test_sheet_of_none_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"1 to 48 pictures, not {count}"):
        contact_sheet([(flat(RED, (8, 8)), "")] * count)


def test_mean_of_two_flat_pictures_is_the_flat_mean() -> None:
    mean = pixels(mean_picture([flat((10, 20, 30), (64, 48)), flat((20, 40, 200), (500, 700))]))

    assert mean.shape == (MEAN_SIDE, MEAN_SIDE, 3)
    assert (mean == (15, 30, 115)).all()


def test_mean_is_rounded_half_up() -> None:
    assert (pixels(mean_picture([flat((0, 1, 2)), flat((1, 2, 255))])) == (1, 2, 129)).all()


def test_mean_of_many_does_not_overflow() -> None:
    assert (pixels(mean_picture(flat((255, 255, 254), (8, 8)) for _ in range(300))) == (255, 255, 254)).all()


def test_mean_of_one_picture_is_that_picture() -> None:
    picture = drawn(2, (MEAN_SIDE, MEAN_SIDE))

    assert np.array_equal(pixels(mean_picture([picture])), np.asarray(picture))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "CMYK"])
def test_mean_takes_pictures_of_any_mode(mode: str) -> None:
    assert (pixels(mean_picture([flat((255, 255, 255)).convert(mode)])) == 255).all()


def test_mean_of_no_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="no picture"):
        mean_picture([])
