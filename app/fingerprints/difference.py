"""The difference hash: where brightness rises from left to right (imagehash's `dhash`)."""

import numpy as np
from numpy.typing import NDArray


def difference_bits(small: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Bits of pictures reduced to 9 x 8: uint8 (pictures, 8 rows, 9 columns) -> bool (pictures, 8, 8).

    >>> rising = np.tile(np.arange(9, dtype=np.uint8), (1, 8, 1))
    >>> bool(difference_bits(rising).all())
    True
    """
    return np.asarray(small[:, :, 1:] > small[:, :, :-1])
