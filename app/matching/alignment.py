"""Whether one picture is a pixel-true copy of what it lies on in another: both laid on each other and compared.

The overlap that keypoints agree on is right to a few pixels. From there both pictures, small and normalised
locally, are laid on each other by Gauss and Newton's steps with Cauchy's weights, first by an affine map, then
by a homography. Then they are compared block by block: of a copy most blocks are the same but for noise,
whatever is stuck over some of them; of pictures that only have keypoints in common few are.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from app.matching.alignment_kernels import PARAMETERS, compare_blocks, find_slopes, normalise_locally

FRAMES = 80, 160, 320
"""Pixels of the overlap's long side: in the first frame both are laid on each other roughly, in the second well,
and in the third they are compared closely."""
LEAST_SIDE = 16
"""Pixels of the stored picture that an overlap is wide and high at least."""
LEAST_BLOCKS = 4
BLOCK = 12  # pixels of the frame

_LOW = 0.25
_AFFINE = 6
_AFFINE_STEPS, _STEPS, _FINE_STEPS = 4, 12, 5
_HOPELESS = 0.3  # no copy correlates by less in the second frame: it is not looked at more closely
_EVERY = 2
_REACH = 6  # pixels of the frame
_NOISE = 3.0  # levels of grey
_USUAL = 0.7  # standard deviations
_LEAST_SLOPE = 0.7  # levels of grey a pixel of the frame
_LEAST_GAIN = 1e-4
_DAMPED, _LEAST_DAMPED = 1e-3, 1e-9  # the second leaves no system without a solution

Homography = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How a picture lies on another, and how well.

    `homography` float64[3, 3] takes pixels of the query (continuous: the first one's centre is 0.5, 0.5) to
    pixels of the stored picture. `score` is the median correlation of `blocks` blocks of the third frame, -1
    to 1: whether the smallest that can be seen is the same. `low` is what three quarters of the blocks of the
    second frame correlate by at least: whether all of it is, and not only one thing in it. Of fewer than
    LEAST_BLOCKS both are -1.
    """

    homography: Homography
    score: float
    low: float
    blocks: int


def align(
    query: Image.Image, stored: Image.Image, affine: NDArray[np.float64], *, negative: bool = False
) -> Alignment | None:
    """Lay a picture of mode L on another one, from an affine map float64[2, 3]; None where they hardly overlap.

    A `negative` of the query is what lies on the other.
    """
    own = ImageChops.invert(query) if negative else query
    rough = _laid(own, stored, np.vstack([affine, [0, 0, 1]]), FRAMES[0], _AFFINE_STEPS, _STEPS)
    coarse = None if rough is None else _laid(own, stored, rough[0], FRAMES[1], _AFFINE_STEPS, _STEPS)
    if coarse is None:
        return None
    homography, blocks = coarse
    score, low = _median(blocks), _low(blocks)
    if len(blocks) >= LEAST_BLOCKS and score < _HOPELESS:
        return Alignment(homography, score, low, len(blocks))
    fine = _laid(own, stored, homography, FRAMES[2], 0, _FINE_STEPS)
    if fine is None:
        return None
    homography, fine_blocks = fine
    if len(blocks) < LEAST_BLOCKS:
        low = _low(fine_blocks)
    return Alignment(homography, _median(fine_blocks), low, len(fine_blocks))


def _median(blocks: NDArray[np.float32]) -> float:
    return float(np.median(blocks)) if len(blocks) >= LEAST_BLOCKS else -1.0


def _low(blocks: NDArray[np.float32]) -> float:
    return float(np.quantile(blocks, _LOW)) if len(blocks) >= LEAST_BLOCKS else -1.0


def _laid(
    query: Image.Image, stored: Image.Image, start: Homography, frame: int, affine_steps: int, steps: int
) -> tuple[Homography, NDArray[np.float32]] | None:
    """The homography under which pictures lie best on each other in a frame, and how its blocks correlate."""
    region = overlap_of(start, query.size, stored.size)
    if len(region) < 3:
        return None
    left, top = np.maximum(region.min(axis=0), 0).tolist()
    right, bottom = np.minimum(region.max(axis=0), stored.size).tolist()
    if min(right - left, bottom - top) < LEAST_SIDE:
        return None
    scale = min(1.0, frame / max(right - left, bottom - top))
    size = max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale))
    template = _small(stored.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))
    shrunk = min(1.0, scale * _scale_at(start, region))
    own_size = max(2, round(query.width * shrunk)), max(2, round(query.height * shrunk))
    own = _small(query.resize(own_size, Image.Resampling.BILINEAR) if shrunk < 1 else query)
    # From the frame's pixels, centred and scaled as `find_slopes` has them, to those of the stored picture.
    unit = 0.5 * max(size)
    across, down = (right - left) / size[0], (bottom - top) / size[1]
    to_stored = np.array(
        [
            [unit * across, 0, left + 0.5 * size[0] * across],
            [0, unit * down, top + 0.5 * size[1] * down],
            [0, 0, 1],
        ]
    )
    # From the query's pixels to places of the small picture, where the first pixel is 0.
    to_own = np.array(
        [
            [own.shape[1] / query.width, 0, -0.5],
            [0, own.shape[0] / query.height, -0.5],
            [0, 0, 1],
        ]
    )
    warp = _refined(template, own, to_own @ np.linalg.inv(start) @ to_stored, affine_steps, steps)
    if warp is None:
        return None
    room = np.empty((size[0] // BLOCK + 1) * (size[1] // BLOCK + 1), np.float32)
    blocks = compare_blocks(template, own, warp, BLOCK, _LEAST_SLOPE, room)
    homography = to_stored @ np.linalg.inv(warp) @ to_own
    return homography / homography[2, 2], room[:blocks]


def _scale_at(homography: Homography, region: NDArray[np.float64]) -> float:
    """Pixels of the stored picture for one of the query, in the middle of a region of the stored picture."""
    back = np.linalg.inv(homography)
    x, y = region.mean(axis=0)
    across, down, by = back @ (x, y, 1)
    rows = back[:2, :2] - np.outer([across / by, down / by], back[2, :2])
    return float(abs(np.linalg.det(rows / by)) ** -0.5)


def overlap_of(
    homography: Homography, query_size: tuple[int, int], stored_size: tuple[int, int]
) -> NDArray[np.float64]:
    """What the query covers of the stored picture: corners of a convex polygon, float64[n, 2]; none for nothing."""
    width, height = query_size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]) @ homography.T
    if (corners[:, 2] <= 0).any():
        return np.empty((0, 2))
    polygon = list(corners[:, :2] / corners[:, 2:])
    for axis, limit, sign in ((0, 0, 1), (0, stored_size[0], -1), (1, 0, 1), (1, stored_size[1], -1)):
        polygon = _cut(polygon, axis, limit, sign)
    return np.array(polygon).reshape(-1, 2)


def _cut(polygon: list[NDArray[np.float64]], axis: int, limit: int, sign: int) -> list[NDArray[np.float64]]:
    """What of a polygon lies on one side of a line along an axis (Sutherland and Hodgman, CACM 1974)."""
    kept = []
    for before, corner in zip([*polygon[-1:], *polygon[:-1]], polygon, strict=True):
        outside, inside = sign * (before[axis] - limit), sign * (corner[axis] - limit)
        if (outside >= 0) != (inside >= 0):
            kept.append(before + outside / (outside - inside) * (corner - before))
        if inside >= 0:
            kept.append(corner)
    return kept


def _small(picture: Image.Image) -> NDArray[np.float32]:
    """Its pixels, blurred by a pixel: what noise there is counts less, and slopes are found."""
    padded = np.pad(np.asarray(picture, np.float32), 1, mode="edge")
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return np.ascontiguousarray((rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16)


def _refined(
    template: NDArray[np.float32],
    picture: NDArray[np.float32],
    warp: NDArray[np.float64],
    affine_steps: int,
    steps: int,
) -> NDArray[np.float64] | None:
    """The warp, as `find_slopes` has it, under which the picture lies best on the template."""
    wanted, own = np.empty_like(template), np.empty_like(picture)
    normalise_locally(template, _REACH, _NOISE, wanted)
    normalise_locally(picture, _REACH, _NOISE, own)
    sums, slope = np.empty((PARAMETERS, PARAMETERS)), np.empty(PARAMETERS)
    warp = warp / warp[2, 2]
    best, best_warp = -2.0, None
    for number in range(steps):
        free = _AFFINE if number < affine_steps else PARAMETERS
        correlation = find_slopes(wanted, own, warp, free, _EVERY, _USUAL, sums, slope)
        if correlation > best + _LEAST_GAIN:
            best, best_warp = correlation, warp
        elif number >= affine_steps or correlation == -2.0:
            break
        damped = sums[:free, :free] + np.diag(_DAMPED * sums.diagonal()[:free] + _LEAST_DAMPED)
        step = np.zeros(9)
        step[:free] = np.linalg.solve(damped, slope[:free])
        warp = warp + step.reshape(3, 3)
    return best_warp
