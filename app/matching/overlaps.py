"""How one picture lies on another: what pairs of keypoints with nearly the same hash agree on."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STATES, TURNED, Floats, Keypoints
from app.matching.homographies import Doubles, Homography, linear_at, mapped, on_a_line, tilted
from app.matching.overlap_kernels import find_pairs, most_agreeing

PROPOSING_BITS = 5
"""Distance of hashes that an index is searched with."""
LEAST_PROPOSING = 2
"""Pairs of that distance that agree: 98 % of the hardest copies have them, 1.6 % of unrelated pictures."""
AGREEING_BITS = 12
"""Distance of hashes between two pictures of which that is known already: many more pairs agree."""
LEAST_AGREEING = 5
CHANCE = ((7, 7), (8, 8), (12, 10))
"""Where fewer places agree than the first, by hashes that differ in more bits at the median than the second, it is
chance: of 7,000 copies none was so, and half of all strangers with so many places were (docs/decisions/0015)."""

MOST_OFF = 0.03
"""Of the stored picture's long side: how far places that agree may be off, as the next two."""
MOST_SCALED = 0.5
"""Octaves."""
MOST_TURNED = float(np.deg2rad(18))
_CLOSELY = 0.01, 0.15, float(np.deg2rad(6))
"""The same, of what agrees whatever repeats around it."""
_MOST_PAIRS = 2000  # where one pattern is repeated all over both pictures there are tens of thousands
_MOST_TRIED = 200
_CLOSE = 0.004  # of the stored picture's long side: 2 pixels of the largest


@dataclass(frozen=True, slots=True, eq=False)
class Overlap:
    """One picture lying on another.

    `homography` takes pixels of the query to those of the stored picture. So does the similarity that `closely`
    tells, in some hundred microseconds, of those that agree closely: it knows no tilt, and where a pattern repeats,
    others are of the next period. `pairs` int64[n, 2] are the numbers of the keypoints that agree, `count` how many
    places they are, `bits` the median distance of their hashes. `near` int64[m, 3] are the numbers, and bits, of
    all whose hashes are near, whether they agree or not.
    """

    state: str
    """One of STATES: what was done to the query beside moving, turning and scaling."""
    count: int
    bits: int
    homography: Homography
    closely: Callable[[], Homography]
    pairs: NDArray[np.int64]
    near: NDArray[np.int64]

    def starts(self) -> Iterator[Homography]:
        """From where the pictures can be laid on each other, best first."""
        yield self.homography
        yield self.closely()


def find_overlap(
    query: Keypoints,
    query_size: tuple[int, int],
    stored: Keypoints,
    stored_size: tuple[int, int],
    states: Sequence[int] = range(len(STATES)),
) -> Overlap | None:
    """The overlap that most keypoints agree on, in one of some of STATES; None where too few do, or by chance.

    Sizes are width and height in pixels. Two that agree have to be so near that an index proposes them.
    """
    found: Overlap | None = None
    for state in states:
        overlap = _overlap_in(state, query, query_size, stored, stored_size)
        if overlap is not None and (found is None or overlap.count > found.count):
            found = overlap
    return found


def in_state(places: Floats, state: int, width: int) -> Floats:
    """Where keypoints of a picture of that width would be once it is as STATES says."""
    moved = places.copy()
    if state & 2:
        moved[:, 3] += np.pi
    if state & 1:
        moved[:, 0] = width - moved[:, 0]
        moved[:, 3] = np.pi - moved[:, 3]
    return moved


def _overlap_in(
    state: int, query: Keypoints, query_size: tuple[int, int], stored: Keypoints, stored_size: tuple[int, int]
) -> Overlap | None:
    codes = query.codes ^ TURNED[state], np.ascontiguousarray(stored.codes)
    pairs = _pairs_within(*codes, AGREEING_BITS)
    nearest = pairs[pairs[:, 2] <= PROPOSING_BITS]
    different = codes[0][nearest[:, 0]] ^ codes[1][nearest[:, 1]]
    proposing = nearest[different & query.sure[nearest[:, 0]] == 0]
    places = in_state(query.places, state, query_size[0]), stored.places
    sides = float(max(query_size)), float(max(stored_size))
    if len(proposing) < LEAST_PROPOSING or _agreeing(*places, proposing, sides)[0] < LEAST_PROPOSING:
        return None
    count, agreeing = _agreeing(*places, pairs, sides)
    if count < LEAST_AGREEING:
        return None
    kept = pairs[agreeing]
    bits = int(np.median(kept[:, 2]))
    if any(count < least and bits > most for least, most in CHANCE):
        return None
    mirror: Homography = np.eye(3)
    if state & 1:
        mirror = np.array([[-1.0, 0, query_size[0]], [0, 1, 0], [0, 0, 1]])

    def closely() -> Homography:
        agreed, close = _agreeing(*places, pairs, sides, _CLOSELY)
        closest = pairs[close] if agreed >= LEAST_PROPOSING else kept
        return _similarity(places[0][closest[:, 0]], places[1][closest[:, 1]]) @ mirror

    fitted = _fitted(places[0][kept[:, 0]], places[1][kept[:, 1]]) @ mirror
    own, other = (
        points.places[pairs[:, side], :2].astype(np.float64) for side, points in enumerate((query, stored))
    )
    homography = tilted(fitted, own, other, query_size, sides[1])
    return Overlap(STATES[state], count, bits, homography, closely, kept[:, :2], pairs)


def close_pairs(
    overlap: Overlap,
    homography: Homography,
    query: Keypoints,
    stored: Keypoints,
    region: Doubles,
    side: float,
) -> NDArray[np.int64]:
    """Pairs of near keypoints that a better homography takes to each other almost exactly; int64[n, 2].

    `region` float64[m, 2] is what the pictures have in common, in the query, `side` the stored one's long side.
    """
    own, other = query.places[overlap.near[:, 0]], stored.places[overlap.near[:, 1]]
    off = np.hypot(*(mapped(homography, own[:, :2].astype(np.float64)) - other[:, :2]).T)
    scale = np.sqrt(abs(np.linalg.det(linear_at(homography, region.mean(axis=0)))))
    scaled = np.abs(np.log2(own[:, 2] * scale / other[:, 2]))
    return overlap.near[(off < _CLOSE * side) & (scaled < MOST_SCALED), :2]


def _pairs_within(queries: NDArray[np.uint64], stored: NDArray[np.uint64], radius: int) -> NDArray[np.int64]:
    """Places in both, and bits, of the nearest pairs within a radius; int64[n, 3], nearest first."""
    pairs = np.empty((_MOST_PAIRS, 3), np.int64)
    count = find_pairs(queries, stored, radius, pairs)
    if count > len(pairs):
        pairs = np.empty((count, 3), np.int64)
        find_pairs(queries, stored, radius, pairs)
    found = pairs[:count]
    return np.ascontiguousarray(found[np.argsort(found[:, 2], kind="stable")[:_MOST_PAIRS]])


def _agreeing(
    queries: Floats,
    stored: Floats,
    pairs: NDArray[np.int64],
    sides: tuple[float, float],
    most: tuple[float, float, float] = (MOST_OFF, MOST_SCALED, MOST_TURNED),
) -> tuple[int, NDArray[np.bool_]]:
    queries, stored = np.ascontiguousarray(queries), np.ascontiguousarray(stored)
    marks = np.zeros(len(pairs), np.bool_)
    limits = most[0] * sides[1], *most[1:]
    return most_agreeing(queries, stored, pairs, *sides, *limits, _MOST_TRIED, marks), marks


def _fitted(queries: Floats, stored: Floats) -> Homography:
    """The affine map that takes places nearest to others; a similarity if on a line."""
    if on_a_line(queries) or on_a_line(stored):
        return _similarity(queries, stored)
    places = np.column_stack([queries[:, :2].astype(np.float64), np.ones(len(queries))])
    affine = np.linalg.lstsq(places, stored[:, :2].astype(np.float64), rcond=None)[0].T
    return np.vstack([affine, [0, 0, 1]])


def _similarity(queries: Floats, stored: Floats) -> Homography:
    """The similarity that takes places nearest to others."""
    x, y = queries[:, 0].astype(np.float64), queries[:, 1].astype(np.float64)
    zero, one = np.zeros_like(x), np.ones_like(x)
    rows = np.concatenate([np.stack([x, -y, one, zero], axis=1), np.stack([y, x, zero, one], axis=1)])
    wanted = stored[:, :2].astype(np.float64).T.ravel()
    a, b, right, down = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return np.array([[a, -b, right], [b, a, down], [0, 0, 1]])
