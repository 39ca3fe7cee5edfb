"""The eight orientations of a picture, in the order that breaks ties."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

TRANSFORMS: tuple[str, ...] = (
    "identity",
    "mirror",
    "rotate_90",
    "rotate_180",
    "rotate_270",
    "flip",
    "transpose",
    "transverse",
)
"""Pillow's meaning: rotations run counter-clockwise, `mirror` swaps left and right, `flip` top and bottom."""

T = TypeVar("T", bound=np.generic)

_METHODS = {
    "mirror": Image.Transpose.FLIP_LEFT_RIGHT,
    "rotate_90": Image.Transpose.ROTATE_90,
    "rotate_180": Image.Transpose.ROTATE_180,
    "rotate_270": Image.Transpose.ROTATE_270,
    "flip": Image.Transpose.FLIP_TOP_BOTTOM,
    "transpose": Image.Transpose.TRANSPOSE,
    "transverse": Image.Transpose.TRANSVERSE,
}


def turn(image: Image.Image, transform: str) -> Image.Image:
    """The picture turned by one of `TRANSFORMS`; pixels move, none changes. KeyError for another name.

    >>> turn(Image.new("L", (3, 2)), "rotate_90").size
    (2, 3)
    """
    if transform == "identity":
        return image.copy()
    return image.transpose(_METHODS[transform])


def inverse(transform: str) -> str:
    """The transform that undoes this one: only the quarter turns are not their own.

    >>> inverse("rotate_90"), inverse("transverse")
    ('rotate_270', 'transverse')
    """
    swapped = {"rotate_90": "rotate_270", "rotate_270": "rotate_90"}
    return swapped.get(transform, TRANSFORMS[TRANSFORMS.index(transform)])


def turned_stack(upright: NDArray[T], transposed: NDArray[T]) -> NDArray[T]:
    """All eight orientations from two: of the picture as it stands, and of its transpose.

    Both arrays are (..., rows, columns) and of one shape; the result is (..., 8, rows, columns) in the order of
    `TRANSFORMS`. What is exact for any reduction that commutes with the two mirrorings.
    """
    return np.stack(
        [
            upright,
            upright[..., ::-1],
            transposed[..., ::-1, :],
            upright[..., ::-1, ::-1],
            transposed[..., ::-1],
            upright[..., ::-1, :],
            transposed,
            transposed[..., ::-1, ::-1],
        ],
        axis=-3,
    )
