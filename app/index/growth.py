"""Arrays that grow at the end."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Kind = TypeVar("_Kind", bound=np.generic)


def grown(values: NDArray[_Kind], needed: int) -> NDArray[_Kind]:
    """Return `values` if it has `needed` rows, else a copy with at least twice its rows, zeros at the end."""
    if needed <= len(values):
        return values
    longer = np.zeros((max(needed, 2 * len(values)), *values.shape[1:]), values.dtype)
    longer[: len(values)] = values
    return longer
