"""The compiled loops that describe keypoints: which way each is turned, and what is around it.

As SIFT does (Lowe, IJCV 2004), but on a small grid of samples that is turned and scaled with the keypoint
instead of on all pixels: so the weights are constants, and there are 400 samples however large it is. Descriptors
are RootSIFT (Arandjelovic and Zisserman, CVPR 2012).
"""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled
from app.fingerprints.scale_space_kernels import Floats

CELLS = 4
"""Of a descriptor, along each side."""
DIRECTIONS = 8
"""That gradients are told apart by, in each cell."""
NUMBERS = CELLS * CELLS * DIRECTIONS
CELL_SIGMAS = 3.0
SPACING_SIGMAS = 0.75
"""Between samples. The pictures are blurred by one sigma: nothing is finer."""
SAMPLES = 20
"""Along each side: the cells, and half a cell around them."""
_CELLS_AROUND = CELLS + 2

ORIENTING = 13
"""Samples along each side that tell the orientation."""
BINS = 36
MOST_ORIENTATIONS = 2
NEARLY_AS_STRONG = 0.8
"""Of the strongest orientation: a keypoint is described by such another one too."""
_MOST_OF_A_NUMBER = 0.2  # of a descriptor's length: one strong gradient is not all there is

_TURN = np.float32(2 * np.pi)

# Samples from the middle, in sigmas; in cells, the middle of the first being 1: which cell is the nearest
# before it, and which share the one after that has.
_OFFSETS = (np.arange(SAMPLES) - 0.5 * (SAMPLES - 1)) * SPACING_SIGMAS
_IN_CELLS = _OFFSETS / CELL_SIGMAS + 0.5 * (CELLS + 1)
_CELL = np.floor(_IN_CELLS).astype(np.int64)
_SHARE = (_IN_CELLS - _CELL).astype(np.float32)
_WEIGHT = np.exp(-0.5 * (_OFFSETS / (0.5 * CELLS * CELL_SIGMAS)) ** 2).astype(np.float32)
_NEAR = np.exp(-0.5 * ((np.arange(ORIENTING) - 0.5 * (ORIENTING - 1)) * SPACING_SIGMAS / 1.5) ** 2)
_AROUND = np.outer(_NEAR, _NEAR).astype(np.float32)

_layers = types.Array(types.float32, 3, "C", readonly=True)
_places = types.Array(types.float32, 2, "C", readonly=True)
_angles = types.Array(types.float32, 2, "C")
_descriptors = types.Array(types.float32, 3, "C")
_counts = types.Array(types.int64, 1, "C")


@njit(nogil=True, fastmath=True)
def _sample(
    picture: Floats, x: float, y: float, spacing: float, cosine: float, sine: float, samples: Floats
) -> None:
    """Values on a turned grid around a place, between four pixels each; beyond the picture those of its edge."""
    height, width = picture.shape
    count = samples.shape[0]
    middle = 0.5 * (count - 1)
    for row in range(count):
        down = (row - middle) * spacing
        for column in range(count):
            across = (column - middle) * spacing
            right = min(max(x + cosine * across - sine * down, 0.0), width - 1.001)
            low = min(max(y + sine * across + cosine * down, 0.0), height - 1.001)
            left, top = int(right), int(low)
            share = np.float32(right - left)
            upper = picture[top, left] + (picture[top, left + 1] - picture[top, left]) * share
            lower = picture[top + 1, left] + (picture[top + 1, left + 1] - picture[top + 1, left]) * share
            samples[row, column] = upper + (lower - upper) * np.float32(low - top)


@njit(nogil=True, fastmath=True)
def _find_gradients(samples: Floats, unit: Any, strengths: Floats, directions: Floats) -> None:
    """Strength and direction, from 0 to 2 pi times `unit`, at all samples but the outermost.

    The arc tangent is that of a polynomial, wrong by 0.0003 at most: without a branch, eight at once.
    """
    count = samples.shape[0] - 2
    turn = _TURN * unit
    for row in range(count):
        above, below = samples[row, 1 : count + 1], samples[row + 2, 1 : count + 1]
        before, after = samples[row + 1, :count], samples[row + 1, 2 : count + 2]
        strength, direction = strengths[row], directions[row]
        for column in range(count):
            x, y = after[column] - before[column], below[column] - above[column]
            strength[column] = np.sqrt(x * x + y * y)
            wide, high = abs(x), abs(y)
            slope = min(wide, high) / (max(wide, high) + np.float32(1e-12))
            square = slope * slope
            angle = np.float32(-0.0464964749) * square + np.float32(0.15931422)
            angle = (angle * square - np.float32(0.327622764)) * square * slope + slope
            angle = np.float32(np.pi / 2) - angle if high > wide else angle
            angle = np.float32(np.pi) - angle if x < 0 else angle
            angle = (_TURN - angle if y < 0 else angle) * unit
            direction[column] = angle if angle < turn else angle - turn


@njit(nogil=True, fastmath=True)
def _orientations(
    strengths: Floats, directions: Floats, weights: Floats, histogram: Floats, found: Floats
) -> int:
    """The strongest directions of gradients, in radians from 0 to 2 pi; returns how many."""
    peaks = np.empty(MOST_ORIENTATIONS, np.int64)
    histogram[:] = 0
    for row in range(ORIENTING):
        for column in range(ORIENTING):
            direction = directions[row, column]
            first = np.int32(direction)
            share = direction - first
            first %= BINS
            second = (first + 1) % BINS
            strength = strengths[row, column] * weights[row, column]
            histogram[first] += strength * (1 - share)
            histogram[second] += strength * share
    for _ in range(2):
        last, start = histogram[BINS - 1], histogram[0]
        for place in range(BINS):
            following = histogram[place + 1] if place + 1 < BINS else start
            own = histogram[place]
            histogram[place] = 0.25 * last + 0.5 * own + 0.25 * following
            last = own
    count = 0
    least = NEARLY_AS_STRONG * histogram.max()
    while count < found.size:
        strongest, best = np.float32(0), -1
        for place in range(BINS):
            before, own = histogram[place - 1], histogram[place]
            after = histogram[place + 1] if place + 1 < BINS else histogram[0]
            told = False
            for earlier in range(count):
                told |= peaks[earlier] == place
            if own > before and own >= after and own >= least and own > strongest and not told:
                strongest, best = own, place
        if best < 0:
            break
        before, own = histogram[best - 1], histogram[best]
        after = histogram[best + 1] if best + 1 < BINS else histogram[0]
        offset = 0.5 * (before - after) / (before - 2 * own + after)
        angle = (best + offset) * (_TURN / BINS)
        found[count] = angle + _TURN if angle < 0 else angle
        peaks[count] = best
        count += 1
    return count


@njit(nogil=True, fastmath=True)
def _describe(
    strengths: Floats,
    directions: Floats,
    cells: NDArray[np.int64],
    shares: Floats,
    weights: Floats,
    sums: Floats,
    descriptor: Floats,
) -> None:
    """Sum gradients by cell and direction, each shared by the two nearest of rows, columns and directions."""
    sums[:] = 0
    for row in range(SAMPLES):
        upper, down = cells[row], shares[row]
        for column in range(SAMPLES):
            left, across = cells[column], shares[column]
            direction = directions[row, column]
            first = np.int32(direction)
            share = direction - first
            first &= DIRECTIONS - 1
            second = (first + 1) & (DIRECTIONS - 1)
            strength = strengths[row, column] * weights[row] * weights[column]
            lower_half = strength * down
            upper_half = strength - lower_half
            lower_right, upper_right = lower_half * across, upper_half * across
            lower_left, upper_left = lower_half - lower_right, upper_half - upper_right
            sums[upper, left, first] += upper_left * (1 - share)
            sums[upper, left, second] += upper_left * share
            sums[upper, left + 1, first] += upper_right * (1 - share)
            sums[upper, left + 1, second] += upper_right * share
            sums[upper + 1, left, first] += lower_left * (1 - share)
            sums[upper + 1, left, second] += lower_left * share
            sums[upper + 1, left + 1, first] += lower_right * (1 - share)
            sums[upper + 1, left + 1, second] += lower_right * share
    place, squares = 0, np.float32(0)
    for row in range(1, CELLS + 1):
        for column in range(1, CELLS + 1):
            for direction_bin in range(DIRECTIONS):
                descriptor[place] = sums[row, column, direction_bin]
                squares += descriptor[place] * descriptor[place]
                place += 1
    most, total = np.float32(_MOST_OF_A_NUMBER) * np.sqrt(squares), np.float32(0)
    for place in range(NUMBERS):
        descriptor[place] = min(descriptor[place], most)
        total += descriptor[place]
    for place in range(NUMBERS):
        descriptor[place] = np.sqrt(descriptor[place] / (total + np.float32(1e-9)))


@compiled(types.void(_layers, _places, _angles, _descriptors, _counts))
def describe_keypoints(
    layers: Floats, keypoints: Floats, angles: Floats, descriptors: Floats, counts: NDArray[np.int64]
) -> None:
    """Describe keypoints of one octave, each in its strongest orientations.

    `layers` float32[l, h, w] are its blurred pictures; `keypoints` float32[k, 4] have x, y and sigma in their
    pixels, and the layer. Of k, `counts` int64[k] says how many orientations of `angles` float32[k,
    MOST_ORIENTATIONS] count, in radians, clockwise from the right; `descriptors` float32[k, MOST_ORIENTATIONS,
    NUMBERS] have squares that add up to 1.
    """
    samples = np.empty((SAMPLES + 2, SAMPLES + 2), np.float32)
    few = np.empty((ORIENTING + 2, ORIENTING + 2), np.float32)
    strengths, directions = np.empty((SAMPLES, SAMPLES), np.float32), np.empty((SAMPLES, SAMPLES), np.float32)
    histogram = np.empty(BINS, np.float32)
    sums = np.empty((_CELLS_AROUND, _CELLS_AROUND, DIRECTIONS), np.float32)
    for place in range(counts.size):
        x, y, sigma = keypoints[place, 0], keypoints[place, 1], keypoints[place, 2]
        layer = layers[int(keypoints[place, 3])]
        spacing = np.float32(SPACING_SIGMAS) * sigma
        _sample(layer, x, y, spacing, 1.0, 0.0, few)
        _find_gradients(few, np.float32(BINS) / _TURN, strengths, directions)
        counts[place] = _orientations(strengths, directions, _AROUND, histogram, angles[place])
        for number in range(counts[place]):
            angle = angles[place, number]
            _sample(layer, x, y, spacing, np.cos(angle), np.sin(angle), samples)
            _find_gradients(samples, np.float32(DIRECTIONS) / _TURN, strengths, directions)
            _describe(strengths, directions, _CELL, _SHARE, _WEIGHT, sums, descriptors[place, number])
