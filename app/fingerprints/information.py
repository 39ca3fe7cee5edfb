"""Whether a picture has anything for the hashes to hold on to."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from app.fingerprints.page import ground_level, share_around
from app.fingerprints.value import FINGERPRINTED, LOW_INFORMATION

# Measured on pictures drawn at 512 x 384 and saved as JPEG q75: flat 0; noise of standard deviation 8
# 0.4, of 16 0.9; gradients and vignettes of up to 64 grey levels 0.4; halves of two tones 0. The lowest of
# 2,800 real photos (1,475 unrelated ones, 600 of bare steel, edited copies): 1.39, a blurred crack; the next 1.57.
_LEAST_AMPLITUDE = 1.0
# A white or black frame with one small mark has 0.0017 to 0.0027 beyond 8 levels, the emptiest of 2,155 real photos
# 0.0172, a small product on white 0.006.
_AROUND = 8
_LEAST_BEYOND = 0.005


def information(small: NDArray[np.uint8], counts: NDArray[np.int64]) -> str:
    """`low_information` for a picture that is flat but for noise, shading or a speck; else `fingerprinted`.

    `small` is the picture reduced to 32 x 32, uint8, `counts` int64[256] its numbers of pixels by grey level.
    Decides by the median amplitude, in grey levels, of the 63 low frequencies that the perceptual hash compares
    (orthonormal cosine transform): where it drowns in noise, half of that hash's bits are chance, and where it
    is 0, all such pictures share one hash. And by the share of pixels unlike the rest: of a speck the hashes
    tell nothing but the place.

    >>> information(np.full((32, 32), 200, np.uint8), np.bincount([200], minlength=256))
    'low_information'
    """
    low = scipy.fft.dctn(small.astype(np.float64), norm="ortho")[:8, :8]
    amplitude = float(np.median(np.abs(low.ravel()[1:])))
    beyond = 1 - share_around(counts, ground_level(counts), _AROUND)
    return LOW_INFORMATION if amplitude < _LEAST_AMPLITUDE or beyond < _LEAST_BEYOND else FINGERPRINTED
