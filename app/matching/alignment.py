"""Whether one picture is a pixel-true copy of what it lies on in another: both laid on each other and compared.

The overlap that keypoints agree on is right to a few pixels. From there both pictures, small and normalised
locally, are laid on each other by a homography, in Gauss and Newton's steps with Cauchy's weights. Then they are
compared block by block: of a copy most blocks are the same but for noise, and lie where they should, whatever is
stuck over some of them. Of pictures that only have keypoints in common few are; and where something was
photographed again, blocks that are alike lie beside where they should, for the camera stood elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from app.matching.alignment_kernels import (
    LEFT_OUT,
    PARAMETERS,
    average_blocks,
    compare_blocks,
    find_slopes,
    heaviest_rectangle,
    normalise_locally,
)
from app.matching.homographies import Homography, linear_at
from app.matching.tones import residuals

FRAMES = 160, 320
"""Pixels of the overlap's long side, at most: in the first frame both are laid on each other, in the second they
are compared closely."""
LEAST_SIDE = 16
"""Pixels of the stored picture that an overlap is wide and high at least."""
LEAST_BLOCKS = 4
BLOCK = 12  # pixels of the frame

_ALIKE = 0.5  # of what a block correlates by
_OTHER_TONE = 14.0  # levels of grey: with stickers, and what noise there is, blocks of copies differ by less
NO_TONES = 255.0
"""Levels of grey, of pictures whose tones can't be compared."""
# Weights of blocks in the rectangles that are told of: in one of what differs a fifth is alike by chance.
_ALIKE_AMONG_OTHERS, _OTHER_AMONG_ALIKE, _EMPTY_AMONG_ALIKE = -2.0, -1.0, -0.8
_STEPS, _FINE_STEPS = 20, 40
_DOUBTED_BLOCKS = 8  # added to those of a frame, not alike
_PLAIN = 0.6  # of the first frame's blocks: where as many are alike no other start leads to more
HOPELESS = 0.3
"""Of the first frame's blocks: of no copy fewer are alike, so nothing else is looked at closer."""
_FLAT = 1e-9  # a map that takes a picture to a line
_EVERY = 2  # pixels of the frame, where not all are looked at
_REACH = 6  # pixels of the frame
_NOISE = 3.0  # levels of grey
_USUAL = 0.7  # standard deviations
_LEAST_SLOPE = 0.7  # levels of grey a pixel of the frame
_LEAST_GAIN = 1e-4
_DAMPED, _LEAST_DAMPED = 1e-3, 1e-9  # the second leaves no system without a solution


@dataclass(frozen=True, slots=True, eq=False)
class Alignment:
    """How a picture lies on another, and how well.

    `homography` takes pixels of the query to pixels of the stored picture. Of `blocks` blocks of the last frame
    `alike` are those that correlate, `score` is their median correlation, -1 to 1: whether the smallest that can be
    seen is the same. `shift` is by how many pixels of it blocks lie beside where they should, at the median:
    little in a copy, however bad it is, and more where something was photographed again from another place. Of
    fewer than LEAST_BLOCKS `score` is -1 and `shift` is the side of a block. `residual` is by how many levels of
    grey blocks that correlate are brighter or darker than one tone curve tells, at the median; of fewer than
    LEAST_BLOCKS of them NO_TONES. `frame` is the long side of the second frame, in pixels, even if they were found
    not to be alike in the first.

    Blocks differ that do not correlate, or are of another tone, flat ones as well. `apart` is the share of them, of
    all that differ or correlate, that are in one rectangle, which has few that are the same. `together` is how much
    of what both have in common, 0 to 1, is a rectangle of which most is blocks that are.
    """

    homography: Homography
    score: float
    shift: float
    alike: int
    blocks: int
    residual: float
    frame: int
    apart: float
    together: float


def align(
    query: Image.Image, stored: Image.Image, starts: Iterable[Homography], *, negative: bool = False
) -> Alignment | None:
    """Lay a picture of mode L on another one, from about where it lies; None where they hardly overlap.

    From the first of several `starts` that leads to what is alike, or the best of them. A `negative` of the query
    is what lies on the other.
    """
    own = ImageChops.invert(query) if negative else query
    coarse: _Laid | None = None
    for start in starts:
        laid = _laid(own, stored, start, FRAMES[0], _STEPS)
        if laid is not None and (coarse is None or laid.likeness > coarse.likeness):
            coarse = laid
        if coarse is not None and coarse.blocks >= LEAST_BLOCKS and coarse.alike >= _PLAIN * coarse.blocks:
            break
    if coarse is None:
        return None
    if coarse.blocks >= LEAST_BLOCKS and coarse.alike < HOPELESS * coarse.blocks:
        return coarse.told()
    fine = _laid(own, stored, coarse.homography, FRAMES[1], _FINE_STEPS)
    return None if fine is None else fine.told()


@dataclass(frozen=True, slots=True, eq=False)
class _Laid:
    """The homography under which pictures lie best on each other in a frame; the long side of the second frame; how
    blocks correlate, where they are, and how they are shifted; and what their tones are told of: both pictures in
    the frame, and the warp from one to the other."""

    homography: Homography
    frame: int
    scores: NDArray[np.float32]
    shifts: NDArray[np.float32]
    template: NDArray[np.float32]
    picture: NDArray[np.float32]
    warp: NDArray[np.float64]

    @property
    def blocks(self) -> int:
        return len(self.shifts)

    @property
    def alike(self) -> int:
        return int(np.count_nonzero(self.scores >= _ALIKE))

    @property
    def likeness(self) -> float:
        """The share of blocks that are alike; less of few, of which most are by chance."""
        return self.alike / (self.blocks + _DOUBTED_BLOCKS)

    def told(self) -> Alignment:
        if self.blocks < LEAST_BLOCKS:
            return Alignment(
                self.homography, -1.0, float(BLOCK), self.alike, self.blocks, NO_TONES, self.frame, 0.0, 0.0
            )
        there, alike = self.scores != LEFT_OUT, self.scores >= _ALIKE
        score, shift = float(np.median(self.scores[there])), float(np.median(self.shifts))
        residual, toned = NO_TONES, np.zeros_like(there)
        if self.alike >= LEAST_BLOCKS:
            means = np.empty((*alike.shape, 2), np.float32)
            average_blocks(self.template, self.picture, self.warp, BLOCK, _EVERY, means)
            beside = residuals(means[..., 0].astype(float), means[..., 1].astype(float), alike)
            residual, toned = float(np.median(beside[alike])), beside > _OTHER_TONE  # NaN is not
        same, other = alike & ~toned, (there & ~alike) | toned
        differing = _heaviest(np.where(same, _ALIKE_AMONG_OTHERS, np.where(other, 1.0, 0.0)))
        large = _heaviest(np.where(same, 1.0, np.where(other, _OTHER_AMONG_ALIKE, _EMPTY_AMONG_ALIKE)))
        apart = float(np.count_nonzero(other[differing]) / np.count_nonzero(there | toned))
        together = same[large].size / same.size
        return Alignment(
            self.homography, score, shift, self.alike, self.blocks, residual, self.frame, apart, together
        )


def _heaviest(weights: NDArray[np.float64]) -> tuple[slice, slice]:
    rectangle = np.empty(4, np.int64)
    heaviest_rectangle(weights, rectangle)
    top, bottom, left, right = rectangle.tolist()
    return slice(top, bottom), slice(left, right)


def _laid(query: Image.Image, stored: Image.Image, start: Homography, frame: int, steps: int) -> _Laid | None:
    region = overlap_of(start, query.size, stored.size)
    if len(region) < 3:
        return None
    left, top = np.maximum(region.min(axis=0), 0).tolist()
    right, bottom = np.minimum(region.max(axis=0), stored.size).tolist()
    if min(right - left, bottom - top) < LEAST_SIDE or abs(np.linalg.det(start)) < _FLAT:
        return None
    # Pixels of the stored picture for one of the query, in the middle: no frame shows more than either has.
    back = linear_at(np.asarray(np.linalg.inv(start), np.float64), region.mean(axis=0))
    coarser = float(abs(np.linalg.det(back)) ** -0.5)
    long_side = max(right - left, bottom - top)
    scale = min(1.0, frame / long_side, 1 / coarser)
    second = round(long_side * min(1.0, FRAMES[1] / long_side, 1 / coarser))
    size = max(2, round((right - left) * scale)), max(2, round((bottom - top) * scale))
    template = _small(stored.resize(size, Image.Resampling.BILINEAR, (left, top, right, bottom)))
    shrunk = min(1.0, scale * coarser)
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
    normal_template, normal_own = np.empty_like(template), np.empty_like(own)
    normalise_locally(template, _REACH, _NOISE, normal_template)
    normalise_locally(own, _REACH, _NOISE, normal_own)
    warp = _refined(normal_template, normal_own, to_own @ np.linalg.inv(start) @ to_stored, steps)
    if warp is None or not abs(np.linalg.det(warp)) > _FLAT:
        return None
    scores = np.empty((size[1] // BLOCK, size[0] // BLOCK), np.float32)
    shifts = np.empty(scores.size, np.float32)
    blocks = compare_blocks(template, normal_template, normal_own, warp, BLOCK, _LEAST_SLOPE, scores, shifts)
    homography = to_stored @ np.linalg.inv(warp) @ to_own
    return _Laid(homography / homography[2, 2], max(second, 1), scores, shifts[:blocks], template, own, warp)


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
    template: NDArray[np.float32], picture: NDArray[np.float32], warp: NDArray[np.float64], steps: int
) -> NDArray[np.float64] | None:
    """The warp, as `find_slopes` has it, under which a picture lies best on a template, both normalised locally."""
    sums, slope = np.empty((PARAMETERS, PARAMETERS)), np.empty(PARAMETERS)
    warp = warp / warp[2, 2]
    best, best_warp = -2.0, None
    for _ in range(steps):
        correlation = find_slopes(template, picture, warp, _EVERY, _USUAL, sums, slope)
        if correlation > best + _LEAST_GAIN:
            best, best_warp = correlation, warp
        else:
            break
        damped = sums + np.diag(_DAMPED * sums.diagonal() + _LEAST_DAMPED)
        warp = warp + np.append(np.linalg.solve(damped, slope), 0).reshape(3, 3)
    return best_warp
