"""Whether a picture is text on a plain light ground: a scanned letter, form or receipt."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

# Measured on normalised pictures: 100 drawn letters, forms and receipts, as drawn, halved and quartered, and
# 2,155 real photos (docs/decisions/0008).
_LIGHT = 180
_AROUND = 24  # grey levels on either side of the ground's
_LEAST_GROUND = 0.65  # share of pixels; pages have 0.81 and more
_INK = 40  # levels below the ground
_LEAST_CHANGES = 6.0  # pages have 8.5 and more, drawn products on white 2.2 at most

_SIDE = 512

# Of pages in whatever light (docs/decisions/0015).
_AROUND_INK = 20  # pixels
_EVEN = 230.0
_EVEN_INK = 72  # levels: rough surfaces in even light have spots of half of that
_EVEN_LIGHT = 210  # levels: the ground of pages has 215 and more once it is evened
_LEAST_EVEN_CHANGES = 5.0
# Of both ways together: photographed forms have 6 and 14. What has less ground than forms and receipts has to have
# more of them: dense letters, with .7 of ground, have 70, prints on cloth and lace 10 to 30.
_USUAL_EVEN_CHANGES, _USUAL_GROUND, _CHANGES_FOR_GROUND = 11.0, 0.86, 150.0


def is_page(grey: Image.Image, counts: np.ndarray) -> bool:
    """Whether a normalised picture in mode L, with these numbers of pixels int64[256] by level, is a page.

    Its median level is light and most of it has that level; and between ground and ink it changes often, along
    rows and along columns, in every 512 pixels.
    """
    ground = ground_level(counts)
    if ground < _LIGHT or share_around(counts, ground, _AROUND) < _LEAST_GROUND:
        return False
    return min(_changes(np.asarray(grey) < ground - _INK)) >= _LEAST_CHANGES


def is_text(grey: Image.Image) -> bool:
    """Whether a picture of mode L is text on a plain ground, in whatever light: photographed, say."""
    pixels = np.asarray(grey)
    # The lightest around is the ground, for ink is everywhere thinner than that.
    lightest = np.maximum.reduceat(pixels, np.arange(0, len(pixels), _AROUND_INK), axis=0)
    lightest = np.maximum.reduceat(lightest, np.arange(0, pixels.shape[1], _AROUND_INK), axis=1)
    ground = (
        Image.fromarray(lightest).filter(ImageFilter.BoxBlur(1)).resize(grey.size, Image.Resampling.BILINEAR)
    )
    even = pixels * (_EVEN / np.maximum(np.asarray(ground, np.float32), 1))
    levels = np.clip(even, 0, 255).astype(np.uint8)
    counts = np.bincount(levels.ravel(), minlength=256)
    level = ground_level(counts)
    across, down = _changes(levels < level - _EVEN_INK)
    share = share_around(counts, level, _AROUND)
    usual = _USUAL_EVEN_CHANGES + _CHANGES_FOR_GROUND * max(0.0, _USUAL_GROUND - share)
    return (
        level >= _EVEN_LIGHT
        and share >= _LEAST_GROUND
        and min(across, down) >= _LEAST_EVEN_CHANGES
        and across * down >= usual**2
    )


def _changes(dark: NDArray[np.bool_]) -> tuple[float, float]:
    """How often it changes between dark and light along a row and along a column of 512 pixels."""
    share = _SIDE / dark.size
    across, down = np.count_nonzero(dark[:, 1:] != dark[:, :-1]), np.count_nonzero(dark[1:] != dark[:-1])
    return float(across * share), float(down * share)


def ground_level(counts: np.ndarray) -> int:
    """The median level of a picture with these numbers of pixels int64[256].

    >>> ground_level(np.bincount([3, 3, 3, 200], minlength=256))
    3
    """
    return int(np.searchsorted(counts.cumsum(), counts.sum() / 2))


def share_around(counts: np.ndarray, level: int, around: int) -> float:
    """Share of pixels at most `around` levels from a level.

    >>> share_around(np.bincount([3, 3, 5, 200], minlength=256), 3, 2)
    0.75
    """
    return float(counts[max(0, level - around) : level + around + 1].sum() / counts.sum())
