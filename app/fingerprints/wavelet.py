"""The Haar wavelet hash: the coarse picture, its mean taken out, against its median (imagehash's `whash`)."""

import math

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS, turned_stack

_Floats = NDArray[np.float64]

_HALF = math.sqrt(0.5)
_MEAN_LEVELS = 6  # 64 x 64 -> 1 x 1
_COARSE_LEVELS = 3  # 64 x 64 -> 8 x 8


def wavelet_bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bits of one picture's orientations at 64 x 64: uint8 (8, 64, 64) -> bool (8, 8, 8).

    imagehash's `image_scale` is fixed at 64, so that the value does not depend on the upload's size. Every
    sum and product is PyWavelets' own, in its order: on drawn pictures many coarse values are equal but for
    rounding, and the hash depends on how that falls.
    """
    upright, transposed = small[0], small[TRANSFORMS.index("transpose")]
    if np.array_equal(small, turned_stack(upright, transposed)):
        # The sums of two are the same from either side, so mirroring commutes with the transform; transposing
        # does not, because rows are summed before columns.
        coarse = turned_stack(*_coarse(np.stack([upright, transposed])))
    else:
        coarse = _coarse(small)
    return np.asarray(coarse > np.median(coarse, axis=(1, 2), keepdims=True))


def _coarse(small: NDArray[np.uint8]) -> _Floats:
    """Haar approximation (pictures, 8, 8) of pictures (pictures, 64, 64) whose mean was removed."""
    values: _Floats = small / 255.0
    details = []
    for _ in range(_MEAN_LEVELS):
        low, high = _split_rows(values)
        (values, across), (down, diagonal) = _split_columns(low), _split_columns(high)
        details.append((across, down, diagonal))
    values = np.zeros_like(values)
    for across, down, diagonal in reversed(details):
        values = _join_rows(_join_columns(values, across), _join_columns(down, diagonal))
    for _ in range(_COARSE_LEVELS):
        values = _split_columns(_split_rows(values)[0])[0]
    return values


def _split_rows(values: _Floats) -> tuple[_Floats, _Floats]:
    scaled = values * _HALF
    even, odd = scaled[:, 0::2], scaled[:, 1::2]
    return even + odd, even - odd


def _split_columns(values: _Floats) -> tuple[_Floats, _Floats]:
    scaled = values * _HALF
    even, odd = scaled[:, :, 0::2], scaled[:, :, 1::2]
    return even + odd, even - odd


def _join_rows(low: _Floats, high: _Floats) -> _Floats:
    pictures, rows, columns = low.shape
    low, high = low * _HALF, high * _HALF
    return np.stack([low + high, low - high], axis=2).reshape(pictures, 2 * rows, columns)


def _join_columns(low: _Floats, high: _Floats) -> _Floats:
    pictures, rows, columns = low.shape
    low, high = low * _HALF, high * _HALF
    return np.stack([low + high, low - high], axis=3).reshape(pictures, rows, 2 * columns)
