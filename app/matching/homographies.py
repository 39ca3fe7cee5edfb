"""Maps between the planes of two pictures: one through pairs of places of which many are wrong."""

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Homography = NDArray[np.float64]
"""float64[3, 3]: pixels of one picture (continuous: the first one's centre is 0.5, 0.5) to those of another."""

# How far places may be off, as a share of the long side, step by step: what only an affine map was found for may
# be tilted, and what agrees with the tilt is nearer to where it should be.
_TOLERANCES = np.geomspace(0.06, 0.01, 6)
_LEAST_PLACES = 6
_LEAST_TILTED = 10  # places: of fewer the affine map
_MOST_TILTED = 5.0  # a corner may be so much nearer or farther than the first
_LEAST_BROAD = 0.1  # of their length: places on a line leave two numbers of an affine map open


def mapped(homography: Homography, places: NDArray[np.floating]) -> Doubles:
    """Where a map takes places, float64[n, 2]."""
    moved = places @ homography[:, :2].T + homography[:, 2]
    return np.asarray(moved[:, :2] / moved[:, 2:], np.float64)


def linear_at(homography: Homography, place: NDArray[np.floating]) -> Doubles:
    """What a map does to small steps from a place, float64[2, 2]."""
    across, down, by = homography @ (*place, 1.0)
    rows = homography[:2, :2] - np.outer([across / by, down / by], homography[2, :2])
    return np.asarray(rows / by, np.float64)


def on_a_line(places: NDArray[np.floating]) -> bool:
    """Whether places spread in one direction much less than in the other; as two always do."""
    spreads = np.linalg.svd(places[:, :2] - places[:, :2].mean(axis=0), compute_uv=False)
    return bool(spreads[-1] <= _LEAST_BROAD * spreads[0]) or len(places) < 3


def tilted(
    start: Homography, places: Doubles, others: Doubles, size: tuple[int, int], other_side: float
) -> Homography:
    """The homography near to `start` that takes most of some places, float64[n, 2], to others, whatever the rest.

    Iteratively reweighted least squares with Cauchy's weights. `size` is that of the picture with the places,
    `other_side` the long side of the other one. It is `start` where few agree, or these say too little.
    """
    found = start
    for number, tolerance in enumerate(_TOLERANCES * other_side):
        off = np.hypot(*(mapped(found, places) - others).T)
        near = off < tolerance
        count = len(np.unique(others[near], axis=0))
        if count < _LEAST_PLACES or on_a_line(places[near]) or on_a_line(others[near]):
            break
        weights = 1 / np.hypot(1, off[near] / (tolerance / 2))
        fit = _affine if number == 0 or count < _LEAST_TILTED else _homography
        better = fit(places[near], others[near], weights)
        if not _is_seen_from_the_front(better, size):
            break
        found = better
    return found


def _is_seen_from_the_front(homography: Homography, size: tuple[int, int]) -> bool:
    corners = np.array([[0, 0], [size[0], 0], size, [0, size[1]]], np.float64)
    depths = corners @ homography[2, :2] + homography[2, 2]
    return bool(
        np.isfinite(homography).all() and (depths > 1 / _MOST_TILTED).all() and depths.max() < _MOST_TILTED
    )


def _affine(places: Doubles, others: Doubles, weights: Doubles) -> Homography:
    rows = np.column_stack([places, np.ones(len(places))]) * weights[:, None]
    solved = np.linalg.lstsq(rows, others * weights[:, None], rcond=None)[0]
    return np.vstack([solved.T, [0, 0, 1]])


def _homography(places: Doubles, others: Doubles, weights: Doubles) -> Homography:
    """By the normalised direct linear transformation (Hartley, 1997)."""
    own, their = _normaliser(places), _normaliser(others)
    x, y = mapped(own, places).T
    u, v = mapped(their, others).T
    one, zero = np.ones_like(x), np.zeros_like(x)
    across = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y, -u], axis=1)
    down = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y, -v], axis=1)
    rows = np.concatenate([across, down]) * np.concatenate([weights, weights])[:, None]
    smallest = np.linalg.eigh(rows.T @ rows)[1][:, 0].reshape(3, 3)
    solved = np.linalg.inv(their) @ smallest @ own
    return np.asarray(solved / solved[2, 2], np.float64)


def _normaliser(places: Doubles) -> Homography:
    """What moves places to around 0, at a distance of the root of 2 on average."""
    middle = places.mean(axis=0)
    scale = np.sqrt(2) / max(float(np.hypot(*(places - middle).T).mean()), 1e-9)
    return np.array([[scale, 0, -scale * middle[0]], [0, scale, -scale * middle[1]], [0, 0, 1]])
