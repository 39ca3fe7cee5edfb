"""The Daubechies wavelet hash: three levels of the db4 scaling filter, wrapped at the edges, against the median.

imagehash's `whash(mode="db4")` extends the picture at its edges and so ends with 14 x 14 = 196 coefficients.
Here the filter wraps around instead (PyWavelets' `periodization`), which leaves exactly 8 x 8:

    c[k, l] = sum over i, j of  g[(i - 8k) mod 64]  g[(j - 8l) mod 64]  p[i, j],      bit = c > median(c)

with p the 64 x 64 grey picture and g the scaling filter of db4 after three levels, times 2^14 and rounded to
whole numbers: sums are exact then, whatever adds them up. Every row of g adds up to the same, so that a
constant added to p moves all of c alike: the mean need not be removed first, as imagehash does.
"""

from functools import cache

import numpy as np
import pywt
from numpy.typing import NDArray

from app.fingerprints.orientation import TRANSFORMS

SIDE = 64
_LEVELS = 3
_ONE = 1 << 14  # |c| < 2^8 (4 x 2^14)^2 = 2^40: exact in float64


def daubechies_bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bits of one picture's orientations at 64 x 64: uint8 (8, 64, 64) -> bool (8, 8, 8).

    The filter is not symmetric, so a mirrored picture has other coefficients, not mirrored ones. But turning
    the filter instead of the picture gives them, and that is done for both axes in two products.
    """
    upright, transposed = small[0], small[TRANSFORMS.index("transpose")]
    filters = _filters()
    # (8, 2, 8, 2) each: rows by rows taken forwards or backwards, columns likewise.
    first, second = (
        (filters @ picture.astype(np.float64) @ filters.T).reshape(2, 8, 2, 8)
        for picture in (upright, transposed)
    )
    coarse = np.stack(
        [
            first[0, :, 0],
            first[0, :, 1],
            second[1, :, 0],
            first[1, :, 1],
            second[0, :, 1],
            first[1, :, 0],
            second[0, :, 0],
            second[1, :, 1],
        ]
    )
    return np.asarray(coarse > np.median(coarse, axis=(1, 2), keepdims=True))


@cache
def _filters() -> NDArray[np.float64]:
    """(16, 64) whole numbers: eight rows that are g shifted, then those rows backwards."""
    impulse = np.zeros(SIDE)
    impulse[0] = 1
    # What an impulse at pixel 0 gives in each coefficient, and so at every eighth pixel; shifted, at the rest.
    response = np.array(
        [
            pywt.wavedec(np.roll(impulse, place), "db4", mode="periodization", level=_LEVELS)[0][0]
            for place in range(SIDE)
        ]
    )
    whole = np.rint(response * _ONE)
    rows = np.stack([np.roll(whole, 8 * k) for k in range(8)])
    return np.concatenate([rows, rows[:, ::-1]])
