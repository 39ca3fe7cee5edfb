"""Whether a picture has anything for the hashes to hold on to."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray

from app.fingerprints.value import FINGERPRINTED, LOW_INFORMATION

# Measured as below on pictures drawn at 512 x 384 and saved as JPEG q75: flat 0; noise of standard deviation 8
# 0.4, of 16 0.9; gradients and vignettes of up to 64 grey levels 0.4. The lowest of 2,800 real photos (1,475
# unrelated ones, 600 of bare steel, edited copies): 1.39, a blurred crack; the next 1.57.
_LEAST_AMPLITUDE = 1.0


def information(small: NDArray[np.uint8]) -> str:
    """`low_information` for a picture that is flat, or flat but for noise or shading; else `fingerprinted`.

    `small` is the picture reduced to 32 x 32, uint8. Decides by the median amplitude, in grey levels, of the
    63 low frequencies that the perceptual hash compares (orthonormal cosine transform): where it drowns in
    noise, half of that hash's bits are chance, and where it is 0, all such pictures share one hash.

    >>> information(np.full((32, 32), 200, np.uint8))
    'low_information'
    """
    low = scipy.fft.dctn(small.astype(np.float64), norm="ortho")[:8, :8]
    amplitude = float(np.median(np.abs(low.ravel()[1:])))
    return LOW_INFORMATION if amplitude < _LEAST_AMPLITUDE else FINGERPRINTED
