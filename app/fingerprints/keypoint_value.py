"""Keypoints as they are compared and stored. What finds them is `keypoints`, which costs far more to import."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEYPOINTS = "keypoints"
STORED = 160
"""Keypoints of a picture that is searched for: the first of them."""
STATES = ("as it is", "mirrored", "negative", "negative and mirrored")
"""What may have been done to a copy beside moving, turning and scaling it. The number of two states together is
`^` of theirs."""

# What turns each bit of a hash, the highest first: m mirroring the picture, n its negative, b either, = neither.
# The first two tell apart the states best.
_LAYOUT = "mn" + 20 * "=" + 11 * "m" + 19 * "n" + 12 * "b"
TURNED = np.array(
    [int("".join(str(int(bit in turns)) for bit in _LAYOUT), 2) for turns in ("", "mb", "nb", "mn")],
    np.uint64,
)
"""uint64[4]: the bits of a hash that are others once the picture is as each of STATES says."""
TELLING = np.uint64(3 << 62)
"""The first two bits."""

_CODE, _PLACE = np.dtype(">u8"), np.dtype(">u4")
_WHOLE = np.dtype([("code", _CODE), ("place", ">f4", 4), ("doubt", "u1")])
WHOLE_BYTES = _WHOLE.itemsize
"""Of a keypoint, as `to_whole_bytes` writes it."""
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

    `codes` uint64[k] are hashes, to be XORed with one of TURNED for those of a state. `places` float32[k, 4] are x
    and y in pixels of the picture (the first one's centre is 0.5), size (the diameter of what was found) in pixels,
    and angle in radians, clockwise from the right, 0 to 2 pi. `doubts` uint8[k] are the numbers of the states that
    the first two bits of a hash hardly tell: 0, 1, 2, or 3 for all; of stored ones nobody asks. `sure` uint64[k]
    are the bits of each hash that those of a copy have as well; 0 where that is not known, as of stored ones.
    """

    codes: NDArray[np.uint64]
    places: Floats
    doubts: NDArray[np.uint8]
    sure: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.codes)

    def first(self, count: int) -> "Keypoints":
        """The first of them."""
        return self.taken(slice(count))

    def taken(self, which: slice | NDArray[np.bool_]) -> "Keypoints":
        """Some of them."""
        return type(self)(self.codes[which], self.places[which], self.doubts[which], self.sure[which])

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
        codes, places = self.codes[:STORED], self.places[:STORED].astype(np.float64)
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
        return cls(
            np.frombuffer(codes, _CODE).astype(np.uint64),
            places_from_bytes(places),
            np.zeros(count, np.uint8),
            np.zeros(count, np.uint64),
        )

    def to_whole_bytes(self) -> bytes:
        """All of them as they are, but for what is sure; WHOLE_BYTES each."""
        whole = np.empty(len(self), _WHOLE)
        whole["code"], whole["place"], whole["doubt"] = self.codes, self.places, self.doubts
        return whole.tobytes()

    def sure_to_bytes(self) -> bytes:
        """What is sure of them, 8 bytes each."""
        return self.sure.astype(_CODE).tobytes()

    @classmethod
    def from_whole_bytes(cls, stored: bytes | memoryview, sure: bytes | None = None) -> "Keypoints":
        """What `to_whole_bytes` wrote, and `sure_to_bytes` if it is there.

        ValueError for numbers of bytes that they do not write.
        """
        whole = np.frombuffer(stored, _WHOLE)
        if (whole["doubt"] >= len(STATES)).any():
            raise ValueError("these bytes are not of keypoints: there are doubts about more than the states")
        if sure is not None and len(sure) != len(whole) * _CODE.itemsize:
            raise ValueError(f"{len(sure)} bytes do not tell what is sure of {len(whole)} keypoints")
        return cls(
            whole["code"].astype(np.uint64),
            whole["place"].astype(np.float32),
            whole["doubt"].astype(np.uint8),
            np.zeros(len(whole), np.uint64) if sure is None else np.frombuffer(sure, _CODE).astype(np.uint64),
        )


def canonical(codes: NDArray[np.uint64]) -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """Hashes as they are in that state in which their first two bits are 0, and uint8 the numbers of these states.

    So a picture and its mirrored, negative copies have the same. XORed with TURNED of the states they are `codes`.
    """
    told = codes >> np.uint64(62)  # the higher bit is for mirroring, which has the lower number
    states = (told >> np.uint64(1) | (told & np.uint64(1)) << np.uint64(1)).astype(np.uint8)
    return codes ^ TURNED[states], states


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
