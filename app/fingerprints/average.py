"""The average hash: which of 8 x 8 pixels are brighter than their mean (imagehash's `average_hash`)."""

import numpy as np
from numpy.typing import NDArray


def average_bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bits of pictures reduced to 8 x 8: uint8 (pictures, 8, 8) -> bool of the same shape.

    >>> small = np.arange(64, dtype=np.uint8).reshape(1, 8, 8)
    >>> int(average_bits(small).sum())
    32
    """
    return np.asarray(small > small.mean(axis=(1, 2), keepdims=True))
