"""Keypoints as they are compared and stored. What finds them is `keypoints`, which costs far more to import."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYPOINTS = "keypoints"
STORED = 160
"""Keypoints of a picture that is searched for: the first of them."""
STATES = ("as it is", "mirrored", "negative", "negative and mirrored")
"""What may have been done to a copy beside moving, turning and scaling it."""

_CODE, _PLACE, _FLOAT = np.dtype(">u8"), np.dtype(">u4"), np.dtype(">f4")
# Bits of a place: x and y in whole pixels, of 512; size in steps of a tenth of an octave; angle in 256ths of a
# turn.
_X, _Y, _SIZE, _ANGLE = 9, 9, 6, 8
_SIZE_STEPS = 10
_LEAST_SIZE = 3.0  # pixels: the first scale that keypoints are looked for at has more

Floats = NDArray[np.float32]
PLACE_BYTES = _PLACE.itemsize
"""Of a stored place."""


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Some keypoints of one picture, those that count most first.

    `codes` uint64[k, 4] are hashes, one for each of `STATES`, of stored ones uint64[k, 1]: as they are.
    `places` float32[k, 4] are x and y in pixels of the picture (the first one's centre is 0.5), size (the
    diameter of what was found) in pixels, and angle in radians, clockwise from the right, 0 to 2 pi.
    """

    codes: NDArray[np.uint64]
    places: Floats

    def __len__(self) -> int:
        return len(self.codes)

    def first(self, count: int) -> "Keypoints":
        """The first of them."""
        return type(self)(self.codes[:count], self.places[:count])

    @property
    def stored_count(self) -> int:
        """How many of them are stored."""
        return min(len(self), STORED)

    @property
    def stored(self) -> "Keypoints":
        """What is stored of them, as it comes back."""
        return type(self).from_bytes(*self.to_bytes())

    def to_bytes(self) -> tuple[bytes, bytes]:
        """Hashes of the first STORED, 8 bytes each, and places, 4 each: to a pixel, a twentieth of an octave, 0.7
        degrees."""
        codes, places = self.codes[:STORED, 0], self.places[:STORED].astype(np.float64)
        steps = np.round(_SIZE_STEPS * np.log2(np.maximum(places[:, 2], _LEAST_SIZE) / _LEAST_SIZE))
        packed = np.zeros(len(codes), np.int64)
        for numbers, bits in (
            (np.floor(places[:, 0]), _X),
            (np.floor(places[:, 1]), _Y),
            (steps, _SIZE),
            (np.round(places[:, 3] * ((1 << _ANGLE) / (2 * np.pi))) % (1 << _ANGLE), _ANGLE),
        ):
            packed = packed << bits | np.clip(numbers, 0, (1 << bits) - 1).astype(np.int64)
        return codes.astype(_CODE).tobytes(), packed.astype(_PLACE).tobytes()

    @classmethod
    def from_bytes(cls, codes: bytes | memoryview, places: bytes | memoryview) -> "Keypoints":
        """What `to_bytes` wrote. ValueError for numbers of bytes that it does not write."""
        count = len(codes) // _CODE.itemsize
        if count > STORED or (len(codes), len(places)) != (count * _CODE.itemsize, count * _PLACE.itemsize):
            raise ValueError(
                f"{len(codes)} and {len(places)} bytes are not hashes and places of up to {STORED} keypoints"
            )
        return cls(np.frombuffer(codes, _CODE).astype(np.uint64)[:, None], places_from_bytes(places))

    def to_whole_bytes(self) -> tuple[bytes, bytes]:
        """All of them as they are: hashes for every state, 32 bytes each, and places, 16 each."""
        return self.codes.astype(_CODE).tobytes(), self.places.astype(_FLOAT).tobytes()

    @classmethod
    def from_whole_bytes(cls, codes: bytes, places: bytes) -> "Keypoints":
        """What `to_whole_bytes` wrote. ValueError for numbers of bytes that it does not write."""
        if len(codes) != len(STATES) * _CODE.itemsize * (len(places) // (4 * _FLOAT.itemsize)):
            raise ValueError(f"{len(codes)} bytes of hashes do not belong to {len(places)} bytes of places")
        return cls(
            np.frombuffer(codes, _CODE).astype(np.uint64).reshape(-1, len(STATES)),
            np.frombuffer(places, _FLOAT).astype(np.float32).reshape(-1, 4),
        )


def places_from_bytes(stored: bytes | memoryview) -> Floats:
    """Places float32[k, 4], as in `Keypoints`, of the second part of what `Keypoints.to_bytes` wrote."""
    return unpacked(np.frombuffer(stored, _PLACE))


def unpacked(places: NDArray[np.unsignedinteger[Any]]) -> Floats:
    """Places float32[k, 4], as in `Keypoints`, of k stored ones as numbers of 32 bits."""
    packed = places.astype(np.int64)
    angle = packed & ((1 << _ANGLE) - 1)
    size = packed >> _ANGLE & ((1 << _SIZE) - 1)
    y = packed >> (_ANGLE + _SIZE) & ((1 << _Y) - 1)
    x = packed >> (_ANGLE + _SIZE + _Y)
    columns = np.stack(
        [x + 0.5, y + 0.5, _LEAST_SIZE * 2 ** (size / _SIZE_STEPS), angle * (2 * np.pi / (1 << _ANGLE))],
        axis=1,
    )
    return columns.astype(np.float32)
