"""How near stored pictures are to a template: a picture of some damage, or a part of one.

By the pattern fingerprint a template is a region, looked for in all parts of a picture; by another it is a picture
as a whole, in any of eight orientations. By keypoints it is a part of any place, size and angle: `sightings`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import KEYPOINTS
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import COLOUR_BITS, PATTERN_WORDS, WHOLE_IMAGE_HASHES
from app.matching.overlaps import AGREEING_BITS
from app.matching.places import FARTHEST

PATTERN = "pattern"
COLOURS = "colorhash"

FARTHEST_BY = dict.fromkeys(WHOLE_IMAGE_HASHES, 64) | {
    COLOURS: COLOUR_BITS,
    PATTERN: FARTHEST,
    KEYPOINTS: AGREEING_BITS,
}
"""Bits, by fingerprint: the largest distance there is."""

_SHAPES = dict.fromkeys(WHOLE_IMAGE_HASHES, (len(TRANSFORMS), 1)) | {
    COLOURS: (1, COLOUR_BITS // 64 + 1),
    PATTERN: (2, PATTERN_WORDS),
}
FEWEST = 100
"""Distances, below which nothing can be said of a tail."""
_QUARTER = NormalDist().inv_cdf(
    0.75
)  # of a normal distribution: standard deviations from its middle to a quartile

Words = NDArray[np.uint64]


def code_to_bytes(code: Words) -> bytes:
    """The code of a template as big-endian words."""
    return code.astype(">u8").tobytes()


def code_from_bytes(stored: bytes | memoryview, fingerprint: str) -> Words:
    """What `code_to_bytes` wrote: uint64 (8, 1), (1, 2) for colours, (2, 4) for patterns. Keypoints: `sightings`.

    ValueError for another size.
    """
    return np.frombuffer(stored, ">u8").astype(np.uint64).reshape(_SHAPES[fingerprint])


def turned_distances(code: Words, stored: Words) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Bits between a code uint64[k, words] and each of `stored` uint64[n, words]: int64[n], and by which row of it.

    On a tie the first row. For pictures as wholes; regions: `places.Tiles.nearest`.
    """
    bits = np.bitwise_count(code[:, None] ^ stored).sum(axis=2, dtype=np.int64)
    rows = bits.argmin(axis=0)
    return bits[rows, np.arange(len(stored))], rows


@dataclass(frozen=True, slots=True)
class Background:
    """How far images are from a template, most of which have nothing to do with it: normal, as far as it is told.

    Told by the median and the quartile below it, which the related do not move while they are few. They make the
    tail look thicker than it is, so chances are rather too high than too low: docs/decisions/0013.
    """

    middle: float
    spread: float
    """Bits; half of one more than it is told by, for distances are whole numbers."""

    @classmethod
    def of(cls, distances: Sequence[int] | NDArray[np.signedinteger[Any]]) -> Self | None:
        """That of so many distances; None for fewer than 100."""
        if len(distances) < FEWEST:
            return None
        quarter, middle = np.percentile(distances, (25, 50))
        return cls(float(middle), float(middle - quarter) / _QUARTER + 0.5)

    def chance(self, distance: int) -> float:
        """How often an image that has nothing to do with the template is that near: 0 to 1.

        >>> round(Background(200.0, 20.0).chance(160), 3)
        0.024
        """
        return NormalDist(self.middle, self.spread).cdf(distance + 0.5)
