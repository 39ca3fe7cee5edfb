"""Many pictures in one: a sheet of captioned thumbnails, and the mean of all."""

import io
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MAX_THUMBNAILS = 48
MEAN_SIDE = 256  # pixels

_COLUMNS = 8
_CELL = 144  # pixels a side, for the thumbnail
_GAP = 10  # around every cell
_CAPTION = 16  # one line below it
_FONT_SIZE = 12
_PAPER, _MAT, _INK = (255, 255, 255), (236, 236, 236), (32, 32, 32)
_MEDOID = (31, 105, 193)
_OUTLINE = 4  # pixels, inside the gap: nothing of the thumbnail is covered


def contact_sheet(pictures: Sequence[tuple[Image.Image, str]]) -> bytes:
    """A PNG of up to MAX_THUMBNAILS pictures in rows of eight, each with its caption; the first is outlined.

    Proportions are kept, and small pictures are not enlarged. A caption too long for its cell ends in "…".
    Raises ValueError for no picture, or for more.
    """
    if not 1 <= len(pictures) <= MAX_THUMBNAILS:
        raise ValueError(f"a contact sheet shows 1 to {MAX_THUMBNAILS} pictures, not {len(pictures)}")
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    wide, high = _CELL + _GAP, _CELL + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * wide + _GAP, rows * high + _GAP), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT_SIZE)
    for number, (picture, caption) in enumerate(pictures):
        row, column = divmod(number, columns)
        left, top = _GAP + column * wide, _GAP + row * high
        sheet.paste(_letterboxed(picture), (left, top))
        draw.text((left, top + _CELL + 2), _fitted(caption, draw, font), font=font, fill=_INK)
    outline = (_GAP - _OUTLINE, _GAP - _OUTLINE, _GAP + _CELL + _OUTLINE - 1, _GAP + _CELL + _OUTLINE - 1)
    draw.rectangle(outline, outline=_MEDOID, width=_OUTLINE)
    return _png(sheet)


def mean_picture(pictures: Iterable[Image.Image]) -> bytes:
    """A PNG of MEAN_SIDE a side: the mean of all pictures, each resized to it as RGB, rounded half up.

    One picture is held at a time. Raises ValueError for none.
    """
    total = np.zeros((MEAN_SIDE, MEAN_SIDE, 3), np.int64)
    count = 0
    for picture in pictures:
        # Bilinear never rings: no value lies outside those of the picture.
        total += np.asarray(picture.convert("RGB").resize((MEAN_SIDE, MEAN_SIDE), Image.Resampling.BILINEAR))
        count += 1
    if not count:
        raise ValueError("there is no mean of no picture")
    return _png(Image.fromarray(((2 * total + count) // (2 * count)).astype(np.uint8)))


def _letterboxed(picture: Image.Image) -> Image.Image:
    small = picture.convert("RGB")
    small.thumbnail((_CELL, _CELL))
    cell = Image.new("RGB", (_CELL, _CELL), _MAT)
    cell.paste(small, ((_CELL - small.width) // 2, (_CELL - small.height) // 2))
    return cell


def _fitted(
    caption: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> str:
    """The caption on one line, no wider than its cell."""
    line = " ".join(caption.split())
    if len(line) <= _CELL and draw.textlength(line, font) <= _CELL:
        return line
    # No glyph is narrower than a pixel, as far as it matters: a very long caption is not measured in full.
    for end in range(min(len(line), _CELL), 0, -1):
        cut = line[:end].rstrip() + "…"
        if draw.textlength(cut, font) <= _CELL:
            return cut
    return "…"


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
