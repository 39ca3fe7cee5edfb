"""How a picture lies on another one, as a picture for a person: both side by side, then laid on each other."""

import colorsys
import io
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFont

from app.matching.evidence import Evidence

MAX_POINTS = 24

Size = tuple[int, int]
Box = tuple[float, float, float, float]
Places = NDArray[np.float64]
Colour = tuple[int, int, int]

_MARGIN = 24
_CELL = 512  # pixels a side, for each of the two: no rendition is larger
_BETWEEN = 88  # from one to the other; here the lines are seen best
_WIDTH = 2 * (_MARGIN + _CELL) + _BETWEEN
_PANEL = 352  # pixels a side, for each of the three below
_NEXT_PANEL = (_WIDTH - 2 * _MARGIN - _PANEL) // 2
_MOST_ENLARGED = 16
_PAIR_TOP = 72  # below the heading
_CAPTION = 44  # below each of the two
_PROOF_CAPTION = 60  # two lines, below each of the three
_LARGE, _MEDIUM, _SMALL = 22, 15, 13  # of letters
_PAPER, _INK, _FAINT = (255, 255, 255), (32, 32, 32), (110, 110, 110)
_OUTLINE, _CASING = (255, 176, 0), (20, 20, 20)
_OUTLINE_WIDTH, _CASING_WIDTH = 3, 6
_LINE_WIDTH, _LINE_OPACITY = 1.5, 140
_DOT, _DOT_CASING = 4, 6  # radii
_APART = 3 * _DOT  # pixels of the sheet from one dot to the next
_DIMMED = 0.55  # of what is outside a region: brightness that is left
_FINE = 2  # pixels of the layer for one of the sheet
_TILES = 36  # squares, about
_TICK = 4


@dataclass(frozen=True, slots=True, eq=False)
class _Frame:
    """One of the two as it is drawn: how large, and where on the sheet."""

    picture: Image.Image
    region: Places
    size: Size
    left: int
    top: int

    def on_sheet(self, places: Places) -> Places:
        """Places of the picture, float64[n, 2], on the sheet; those outside are moved to the edge."""
        within = np.clip(places, 0, self.picture.size)
        return within * np.divide(self.size, self.picture.size) + (self.left, self.top)

    def hold(self, places: Places) -> NDArray[np.bool_]:
        """Which places of the picture lie in it, bool[n]."""
        return np.asarray(((places >= 0) & (places <= self.picture.size)).all(axis=1))


@dataclass(frozen=True, slots=True, eq=False)
class _Proof:
    """What both have in common, as large in each: out of the other, out of the picture, and in turns."""

    part: Image.Image
    laid: Image.Image
    both: Image.Image
    tiles: Size
    """Squares of `both` across and down."""


def draw_overlay(
    picture: Image.Image, other: Image.Image, evidence: Evidence, captions: tuple[str, str], heading: str
) -> bytes:
    """A PNG, 1160 pixels wide, that shows how a picture lies on another one.

    Both stand side by side, captioned, with what they have in common outlined and up to MAX_POINTS of the places
    that agree joined. Below, that is shown as the other has it, as the picture has it once laid on the other, and
    in squares of both in turns, which make up one picture of a copy. Texts too long end in "…".
    """
    picture, other = picture.convert("RGB"), other.convert("RGB")
    frames = _framed(picture, other, evidence)
    caption_top = _PAIR_TOP + max(frame.size[1] for frame in frames) + 14
    proof = _prove(picture, other, evidence)
    proof_top = caption_top + _CAPTION
    sheet = Image.new("RGB", (_WIDTH, proof_top + proof.part.height + _PROOF_CAPTION + _MARGIN), _PAPER)
    _write(sheet, heading, (_MARGIN, _MARGIN), _WIDTH - 2 * _MARGIN, _LARGE)
    for frame in frames:
        _paste_dimmed(sheet, frame)
    _draw_marks(sheet, frames, evidence, caption_top)
    for caption, left in zip(captions, (_MARGIN, _MARGIN + _CELL + _BETWEEN), strict=True):
        _write(sheet, caption, (left, caption_top), _CELL, _MEDIUM, centred=True)
    _draw_proof(sheet, proof, evidence, proof_top)
    file = io.BytesIO()
    sheet.save(file, "PNG", compress_level=1)  # a third of the time that 6 takes, a tenth larger
    return file.getvalue()


def _framed(picture: Image.Image, other: Image.Image, evidence: Evidence) -> tuple[_Frame, _Frame]:
    """Both in the middle of their cells; the higher one says how high these are."""
    sizes = _fitting(picture.size, _CELL), _fitting(other.size, _CELL)
    middle = _PAIR_TOP + max(high for _, high in sizes) // 2
    first, second = (
        _Frame(shown, region, size, left + (_CELL - size[0]) // 2, middle - size[1] // 2)
        for shown, region, size, left in zip(
            (picture, other),
            (evidence.region, evidence.other_region),
            sizes,
            (_MARGIN, _MARGIN + _CELL + _BETWEEN),
            strict=True,
        )
    )
    return first, second


def _fitting(size: tuple[float, float], side: int) -> Size:
    """The size of a picture whose long side becomes `side`, or that is enlarged as far as it may be."""
    scale = min(side / max(size), _MOST_ENLARGED)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _paste_dimmed(sheet: Image.Image, frame: _Frame) -> None:
    """The picture, darker outside its region."""
    shown = frame.picture.resize(frame.size, Image.Resampling.BICUBIC)
    inside = Image.new("L", frame.size)
    corners = frame.on_sheet(frame.region) - (frame.left + 0.5, frame.top + 0.5)
    ImageDraw.Draw(inside).polygon(corners.ravel().tolist(), fill=255)
    sheet.paste(Image.composite(shown, _dimmed(shown), inside), (frame.left, frame.top))


def _dimmed(picture: Image.Image) -> Image.Image:
    return picture.point([round(level * _DIMMED) for level in range(256)] * 3)


def _draw_marks(sheet: Image.Image, frames: tuple[_Frame, _Frame], evidence: Evidence, bottom: int) -> None:
    """Outlines of both regions, and the places that agree, each with a line to its like."""
    # Pillow draws no soft edges: all is drawn larger, and reduced.
    layer = Image.new("RGBA", (sheet.width * _FINE, bottom * _FINE))
    draw = ImageDraw.Draw(layer)
    places = _spread(frames, evidence.points)
    colours = _hues(len(places))
    for place, colour in zip(_drawn(places), colours, strict=True):
        draw.line(place, fill=(*colour, _LINE_OPACITY), width=round(_LINE_WIDTH * _FINE))
    for frame in frames:
        corners = _drawn(frame.on_sheet(frame.region).reshape(1, -1))[0]
        # The first side is drawn again, for the joint with the last one.
        line = corners + corners[:4]
        draw.line(line, fill=_CASING, width=_CASING_WIDTH * _FINE, joint="curve")
        draw.line(line, fill=_OUTLINE, width=_OUTLINE_WIDTH * _FINE, joint="curve")
    for place, colour in zip(_drawn(places), colours, strict=True):
        for centre in (place[:2], place[2:]):
            draw.circle(centre, _DOT_CASING * _FINE, fill=_CASING)
            draw.circle(centre, _DOT * _FINE, fill=colour)
    marks = layer.reduce(_FINE)
    sheet.paste(marks, (0, 0), marks)


def _drawn(places: Places) -> list[list[float]]:
    """Places of the sheet on the layer, of which Pillow counts the middle of the first pixel as 0."""
    drawn: list[list[float]] = (places * _FINE - 0.5).tolist()
    return drawn


def _spread(frames: tuple[_Frame, _Frame], points: Places) -> Places:
    """Up to MAX_POINTS of the points on the sheet, float64[n, 4]: each as far from those before as there is one."""
    first, second = frames
    points = points[first.hold(points[:, :2]) & second.hold(points[:, 2:])]
    places = np.hstack([first.on_sheet(points[:, :2]), second.on_sheet(points[:, 2:])])
    distances = np.full(len(places), np.inf)
    chosen: list[int] = []
    while len(chosen) < min(MAX_POINTS, len(places)) and distances.max() >= _APART:
        chosen.append(int(distances.argmax()))
        away = places - places[chosen[-1]]
        nearer = np.minimum(np.hypot(away[:, 0], away[:, 1]), np.hypot(away[:, 2], away[:, 3]))
        distances = np.minimum(distances, nearer)
    return places[chosen]


def _hues(count: int) -> list[Colour]:
    """Bright colours, as different as so many can be."""
    colours = (colorsys.hsv_to_rgb(number / count, 0.8, 1) for number in range(count))
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]


def _prove(picture: Image.Image, other: Image.Image, evidence: Evidence) -> _Proof:
    """The other's part and the picture's, laid on each other; what only the other shows is darker in all."""
    box = _box_of(evidence.other_region, other.size)
    size = _fitting((box[2] - box[0], box[3] - box[1]), _PANEL)
    shown = ImageChops.invert(picture) if evidence.negative else picture
    laid, covered = _lay(shown, evidence, box, size)
    whole = other.resize(size, Image.Resampling.BICUBIC, box)
    around = _dimmed(whole)
    part, laid = Image.composite(whole, around, covered), Image.composite(laid, around, covered)
    tiles = _tiles_of(size)
    across, down = (np.arange(pixels) * count // pixels for pixels, count in zip(size, tiles, strict=True))
    squares = Image.fromarray(((across + down[:, None]) % 2 * 255).astype(np.uint8))
    return _Proof(part, laid, Image.composite(laid, part, squares), tiles)


def _tiles_of(size: Size) -> Size:
    """How many squares across and down make about _TILES."""
    side = (size[0] * size[1] / _TILES) ** 0.5
    return max(1, round(size[0] / side)), max(1, round(size[1] / side))


def _box_of(region: Places, size: Size) -> Box:
    """Left, top, right and bottom of a region of a picture, a pixel apart at least."""
    left, top = np.clip(region.min(axis=0), 0, np.subtract(size, 1)).tolist()
    right, bottom = np.clip(region.max(axis=0), (left + 1, top + 1), size).tolist()
    return left, top, right, bottom


def _lay(picture: Image.Image, evidence: Evidence, box: Box, size: Size) -> tuple[Image.Image, Image.Image]:
    """The picture as it lies on a box of the other that is drawn at a size, and a mask of what it covers."""
    left, top, right, bottom = box
    across, down = size[0] / (right - left), size[1] / (bottom - top)
    to_panel = np.array([[across, 0, -left * across], [0, down, -top * down], [0, 0, 1]])
    # Pillow leaves pixels out where it warps to fewer: the picture is reduced before.
    scale = min(1.0, evidence.scale * across)
    small = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    to_small = np.diag([small[0] / picture.width, small[1] / picture.height, 1])
    back = to_small @ np.linalg.inv(to_panel @ evidence.homography)
    coefficients = (back / back[2, 2]).ravel()[:8].tolist()
    perspective = Image.Transform.PERSPECTIVE
    laid = picture.resize(small, Image.Resampling.BICUBIC).transform(
        size, perspective, coefficients, Image.Resampling.BICUBIC
    )
    return laid, Image.new("L", small, 255).transform(size, perspective, coefficients)


def _draw_proof(sheet: Image.Image, proof: _Proof, evidence: Evidence, top: int) -> None:
    panels = (
        (proof.part, "In the right picture", "what both have in common"),
        (proof.laid, "The left picture, laid on it", _changes(evidence)),
        (proof.both, "Both, in alternating squares", "in a copy every line runs on"),
    )
    for number, (panel, caption, detail) in enumerate(panels):
        left = _MARGIN + number * _NEXT_PANEL
        inset = left + (_PANEL - panel.width) // 2
        sheet.paste(panel, (inset, top))
        below = top + panel.height + 12
        _write(sheet, caption, (left, below), _PANEL, _MEDIUM, centred=True)
        _write(sheet, detail, (left, below + 22), _PANEL, _SMALL, _FAINT, centred=True)
    _draw_ticks(sheet, (inset, top), panel.size, proof.tiles)


def _draw_ticks(sheet: Image.Image, corner: Size, size: Size, tiles: Size) -> None:
    """Where the squares of a copy meet cannot be seen inside: ticks around say it."""
    draw = ImageDraw.Draw(sheet)
    left, top = corner
    right, bottom = left + size[0], top + size[1]
    for column in range(1, tiles[0]):
        x = left + -(-column * size[0] // tiles[0])
        draw.line((x, top - 1 - _TICK, x, top - 2), fill=_FAINT)
        draw.line((x, bottom + 1, x, bottom + _TICK), fill=_FAINT)
    for row in range(1, tiles[1]):
        y = top + -(-row * size[1] // tiles[1])
        draw.line((left - 1 - _TICK, y, left - 2, y), fill=_FAINT)
        draw.line((right + 1, y, right + _TICK, y), fill=_FAINT)


def _changes(evidence: Evidence) -> str:
    """What was done to the picture for it, in words."""
    turned = abs(round(evidence.angle))
    done = [
        *(["mirrored"] if evidence.mirrored else []),
        *(["colours inverted"] if evidence.negative else []),
        *([f"turned by {turned}°"] if turned else []),
    ]
    return ", ".join(done) or "neither mirrored nor turned"


def _write(
    sheet: Image.Image,
    text: str,
    corner: Size,
    width: int,
    size: int,
    ink: Colour = _INK,
    *,
    centred: bool = False,
) -> None:
    """A text on one line, no wider than it may be."""
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size)
    # No glyph is narrower than a pixel, as far as it matters: a very long text is not measured in full.
    line = " ".join(text.split())[: width + 1]
    if draw.textlength(line, font) > width:
        room = width - draw.textlength("…", font)
        ends: Sequence[int] = range(len(line))
        fitting = bisect_right(ends, room, key=lambda end: draw.textlength(line[:end], font)) - 1
        line = line[:fitting].rstrip() + "…"
    left = corner[0] + (width - draw.textlength(line, font)) / 2 * centred
    draw.text((left, corner[1]), line, font=font, fill=ink)
