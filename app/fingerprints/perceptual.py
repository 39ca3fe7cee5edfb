"""The perceptual hash and its 256-bit verifier: low cosine frequencies above their median (`phash`)."""

import numpy as np
import scipy.fft
from numpy.typing import NDArray


def perceptual_bits(small: NDArray[np.uint8], *, side: int) -> NDArray[np.bool_]:
    """Bits of the lowest `side` x `side` frequencies: uint8 (pictures, n, n) -> bool (pictures, side, side).

    n = 32 and side = 8 give the 64-bit hash, n = 64 and side = 16 the verifier. The two transforms run in
    imagehash's order, columns first, so that rounding, and with it every tie, falls the same way; rows that
    hold no wanted frequency are left out of the second.
    """
    columns = scipy.fft.dct(small.astype(np.float64), axis=1)[:, :side]
    low = scipy.fft.dct(columns, axis=2)[:, :, :side]
    return np.asarray(low > np.median(low, axis=(1, 2), keepdims=True))
