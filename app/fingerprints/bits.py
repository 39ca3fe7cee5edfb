"""Bits in reading order -> unsigned 64-bit words, the most significant bit first (imagehash's order)."""

import numpy as np
from numpy.typing import NDArray


def words(bits: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """Pack (pictures, rows, columns) of bool into (pictures, rows x columns / 64) of uint64.

    >>> words(np.eye(8, dtype=bool)[None]).tolist() == [[0x8040201008040201]]
    True
    """
    packed = np.packbits(bits.reshape(len(bits), -1), axis=1)
    return packed.view(">u8").astype(np.uint64)
