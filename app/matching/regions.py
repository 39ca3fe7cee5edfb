"""When a region of one picture is a region of another: docs/decisions/0007."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

LEAST_PIXELS = 3000
"""Of a box, in the normalised picture: a hash of fewer is shared by strangers too often to be searched for."""

WITHIN = 6
"""Bits, inclusive, at which the rule keeps its promise: at most 1 of 10,000 unrelated pairs of pictures matches."""

# A copy's region has the shape of its original's; that of a stranger's has any.
_MOST_STRETCHED = 1.1


@dataclass(frozen=True, slots=True)
class Box:
    """A region in pixels of the normalised picture."""

    x: int
    y: int
    width: int
    height: int

    @property
    def searchable(self) -> bool:
        """Whether the region is large enough."""
        return self.width * self.height >= LEAST_PIXELS


def alike(one: Box, other: Box) -> bool:
    """`alike_in_shape` of two boxes."""
    sides = (one.width, one.height, other.width, other.height)
    return bool(alike_in_shape(*(np.array([side]) for side in sides))[0])


def alike_in_shape(
    widths: NDArray[np.int64],
    heights: NDArray[np.int64],
    other_widths: NDArray[np.int64],
    other_heights: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Whether boxes, place by place, have the same ratio of sides, within a tenth.

    >>> one = np.array([100, 100, 100])
    >>> alike_in_shape(one, one, one, np.array([110, 111, 80])).tolist()
    [True, False, False]
    """
    first, second = widths * other_heights, heights * other_widths
    wide = np.maximum(first, second) <= _MOST_STRETCHED * np.minimum(first, second)
    return np.asarray(wide)
