"""Keypoints as they are compared and stored. What finds them is `keypoints`, which costs far more to import."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STORED = 160
"""Keypoints of a picture that is searched for: the first of them."""
STATES = ("as it is", "mirrored", "negative", "negative and mirrored")
"""What may have been done to a copy beside moving, turning and scaling it."""

_RECORD = np.dtype([("code", ">u8"), ("place", ">u4")])
# Bits of a place: x and y in whole pixels, of 512; size in steps of a tenth of an octave; angle in 256ths of a
# turn.
_X, _Y, _SIZE, _ANGLE = 9, 9, 6, 8
_SIZE_STEPS = 10
_LEAST_SIZE = 3.0  # pixels: the first scale that keypoints are looked for at has more

Floats = NDArray[np.float32]


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

    def to_bytes(self) -> bytes:
        """The first STORED, 12 bytes each, the hash's first: places to a pixel, a twentieth of an octave, 0.7
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
        records = np.empty(len(codes), _RECORD)
        records["code"], records["place"] = codes, packed
        return records.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes | memoryview) -> "Keypoints":
        """What `to_bytes` wrote. ValueError for a number of bytes that it does not write."""
        if len(data) % _RECORD.itemsize or len(data) > STORED * _RECORD.itemsize:
            raise ValueError(
                f"{len(data)} bytes are not up to {STORED} keypoints of {_RECORD.itemsize} bytes"
            )
        records = np.frombuffer(data, _RECORD)
        packed = records["place"].astype(np.int64)
        angle = packed & ((1 << _ANGLE) - 1)
        size = packed >> _ANGLE & ((1 << _SIZE) - 1)
        y = packed >> (_ANGLE + _SIZE) & ((1 << _Y) - 1)
        x = packed >> (_ANGLE + _SIZE + _Y)
        places = np.stack(
            [x + 0.5, y + 0.5, _LEAST_SIZE * 2 ** (size / _SIZE_STEPS), angle * (2 * np.pi / (1 << _ANGLE))],
            axis=1,
        )
        return cls(records["code"].astype(np.uint64)[:, None], places.astype(np.float32))
