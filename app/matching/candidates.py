"""Which images are worth a closer look, of all that have keypoints near to those of a picture."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.fingerprints.keypoint_value import STATES, Floats, Keypoints
from app.matching.candidate_kernels import gather_pairs, number_owners, weigh_owners
from app.matching.overlap_kernels import weigh_agreeing
from app.matching.overlaps import MOST_OFF, MOST_SCALED, MOST_TURNED, in_state

LEAST_KEYPOINTS = 2
"""Of the picture asked about, in one state, that have to be near to some of an image."""

LONG_SIDE = 512
"""Pixels of a rendition, at most."""

_MOST_PAIRS = 32  # of an image that are looked at: where one pattern is repeated there are thousands


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Images by their numbers `owners` int64[n], best first, each in the state in which most speaks for it.

    `weights` float64[n] is what does; image n has pairs[starts[n] : starts[n + 1]], of int64[m, 2]: the number of a
    query and the place of a keypoint of the image; `pair_weights` float64[m].
    """

    owners: NDArray[np.int64]
    states: NDArray[np.int64]
    weights: NDArray[np.float64]
    starts: NDArray[np.int64]
    pairs: NDArray[np.int64]
    pair_weights: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.owners)

    def taken(self, which: NDArray[np.int64]) -> Self:
        """Some of them, in this order."""
        counts = np.diff(self.starts)[which]
        starts = np.concatenate([[0], np.cumsum(counts)])
        places = np.arange(starts[-1]) + np.repeat(self.starts[which] - starts[:-1], counts)
        return type(self)(
            self.owners[which],
            self.states[which],
            self.weights[which],
            starts,
            self.pairs[places],
            self.pair_weights[places],
        )


def rank(
    queries: NDArray[np.int32],
    owners: NDArray[np.int64],
    places: NDArray[np.int32],
    keypoints: int,
    most: int,
) -> Candidates:
    """The best candidates, `most` at most, of what an index finds near to a picture's keypoints.

    `queries` int32[k], `owners` int64[k] and `places` int32[k] are as `near_keypoints.near` finds
    them. For each keypoint that is near to one of its own an image has one through the root of how many images are
    near to it: so what is on a form or a logo counts little, and a picture that is used everywhere still counts
    more than two keypoints by chance.
    """
    numbers, hits = np.empty(len(queries), np.int32), np.empty(len(queries), np.int32)
    known, slots = np.empty(len(queries), np.int64), np.zeros(2 << len(queries).bit_length(), np.int32)
    count = number_owners(owners, slots, numbers, known, hits)
    # Most owners are met once, and thousands of them: what is added up of the others stays in the cache.
    several = np.flatnonzero(hits[:count] > 1)
    rows = np.full(count, -1, np.int32)
    rows[several] = np.arange(len(several))
    weights, sums = np.empty(len(STATES) * keypoints), np.empty((len(several), len(STATES)))
    counts, latest = np.empty(sums.shape, np.int32), np.full(sums.shape, -1, np.int32)
    weigh_owners(queries, numbers, rows, keypoints, weights, sums, counts, latest)
    sums[counts < LEAST_KEYPOINTS] = 0
    states, best = sums.argmax(axis=1), sums.max(axis=1)
    chosen = np.argsort(-best, kind="stable")[: min(most, np.count_nonzero(best))]
    position = np.full(len(several), -1, np.int64)
    position[chosen] = np.arange(len(chosen))
    room = np.empty((len(chosen) * _MOST_PAIRS, 2), np.int64)
    found = np.zeros(len(chosen), np.int64)
    gather_pairs(queries, numbers, rows, places, keypoints, position, states, _MOST_PAIRS, room, found)
    pairs = room[(np.arange(_MOST_PAIRS) < found[:, None]).ravel()]
    starts = np.concatenate([[0], np.cumsum(found)])
    return Candidates(
        known[several[chosen]], states[chosen], best[chosen], starts, pairs, weights[pairs[:, 0]]
    )


def agreeing(
    candidates: Candidates, query: Keypoints, query_size: tuple[int, int], places: Floats
) -> Candidates:
    """Those of which two keypoints agree with the picture's on scale, rotation and shift; best by that first.

    `places` float32[m, 4] are those of the images' keypoints in the candidates' pairs, pair by pair. How far they
    may be off goes by the largest pictures that there are.
    """
    if not len(candidates):
        return candidates
    turned = [in_state(query.places, state, query_size[0]) for state in range(len(STATES))]
    pairs = np.stack([candidates.pairs[:, 0], np.arange(len(places))], axis=1)
    found = np.empty(len(candidates))
    weigh_agreeing(
        np.concatenate(turned),
        places,
        pairs,
        candidates.pair_weights,
        candidates.starts,
        np.full(len(candidates), MOST_OFF * LONG_SIDE),
        MOST_SCALED,
        MOST_TURNED,
        found,
    )
    order = np.argsort(-found, kind="stable")[: np.count_nonzero(found)]
    return candidates.taken(order)
