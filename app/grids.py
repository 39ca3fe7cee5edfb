"""Hashes as pictures: a grid of bits for each, those that differ between two images marked."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from app.matching.regions import Box

Bits = NDArray[np.bool_]

_SIDE = 96  # pixels of a grid
_PANEL = 120  # with its margins
_CAPTION = 34  # two lines below it
_ON, _OFF = (32, 32, 32), (236, 236, 236)
_DIFFERS_ON, _DIFFERS_OFF = (196, 22, 28), (255, 176, 170)
_MISSING = (250, 250, 250)
_BOX = (196, 22, 28)


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """One hash: its bits bool (rows, columns), None where it was not computed yet, and two lines below it."""

    name: str
    bits: Bits | None
    caption: str


@dataclass(frozen=True, slots=True, eq=False)
class Sheet:
    """One image: its rendition, what is drawn of it, and regions to outline, in pixels of the rendition."""

    title: str
    rendition: Image.Image
    grids: Sequence[Grid]
    boxes: Sequence[Box]


def bits_of(words: NDArray[np.uint64], rows: int, columns: int) -> Bits:
    """The first rows x columns bits of words, highest first: bool (rows, columns).

    >>> bits_of(np.array([1 << 63], np.uint64), 8, 8).astype(int).sum(axis=1).tolist()
    [1, 0, 0, 0, 0, 0, 0, 0]
    """
    bits = np.unpackbits(words.astype(">u8").view(np.uint8))[: rows * columns]
    return bits.reshape(rows, columns).astype(bool)


def draw_sheets(groups: Sequence[Sequence[Sheet]]) -> bytes:
    """A PNG with a row for each sheet; of two sheets of one group, bits that differ are red in both.

    The sheets of a group have the same grids in the same order.
    """
    sheets = [(sheet, other) for group in groups for sheet, other in _paired(group)]
    columns = 1 + max(len(sheet.grids) for sheet, _ in sheets)
    high = _PANEL + _CAPTION
    picture = Image.new("RGB", (columns * _PANEL, len(sheets) * high), "white")
    for number, (sheet, other) in enumerate(sheets):
        top = number * high
        _draw_rendition(picture, sheet, top)
        for place, grid in enumerate(sheet.grids):
            bits = None if other is None else other.grids[place].bits
            _draw_grid(picture, grid, bits, (1 + place) * _PANEL, top)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _paired(group: Sequence[Sheet]) -> list[tuple[Sheet, Sheet | None]]:
    """Each sheet with the other of its group, None where it is alone."""
    if len(group) == 1:
        return [(group[0], None)]
    first, second = group
    return [(first, second), (second, first)]


def _draw_rendition(picture: Image.Image, sheet: Sheet, top: int) -> None:
    small = sheet.rendition.convert("RGB")
    draw = ImageDraw.Draw(small)
    for box in sheet.boxes:
        draw.rectangle(
            (box.x, box.y, box.x + box.width - 1, box.y + box.height - 1),
            outline=_BOX,
            width=max(1, max(small.size) // 128),
        )
    small.thumbnail((_SIDE, _SIDE))
    margin = (_PANEL - _SIDE) // 2
    picture.paste(small, (margin, top + margin))
    _write(picture, sheet.title, margin, top + margin + _SIDE)


def _draw_grid(picture: Image.Image, grid: Grid, other: Bits | None, left: int, top: int) -> None:
    margin = (_PANEL - _SIDE) // 2
    shown = Image.new("RGB", (_SIDE, _SIDE), _MISSING)
    if grid.bits is not None:
        colours = np.where(grid.bits[..., None], _ON, _OFF)
        if other is not None:
            marked = np.where(grid.bits[..., None], _DIFFERS_ON, _DIFFERS_OFF)
            colours = np.where((grid.bits != other)[..., None], marked, colours)
        rows, columns = grid.bits.shape
        cell = _SIDE // max(rows, columns)
        cells = Image.fromarray(colours.astype(np.uint8)).resize(
            (columns * cell, rows * cell), Image.Resampling.NEAREST
        )
        shown.paste(cells, (0, 0))
    picture.paste(shown, (left + margin, top + margin))
    _write(picture, f"{grid.name}\n{grid.caption}", left + margin, top + margin + _SIDE)


def _write(picture: Image.Image, text: str, left: int, top: int) -> None:
    ImageDraw.Draw(picture).multiline_text(
        (left, top + 2), text, font=ImageFont.load_default(10), fill="black", spacing=2
    )
