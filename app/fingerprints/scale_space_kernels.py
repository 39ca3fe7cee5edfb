"""The compiled loops that find keypoints: a pyramid of blurred pictures, and what stands out between its layers.

Difference-of-Gaussian extrema (Lowe, IJCV 2004), on the picture at its own size: doubling it first, as is
usual, found no more copies. Inner loops run along whole rows, for the compiler to do eight pixels at once.
"""

from typing import Any

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled

LAYERS = 3
"""In each octave: at so many scales extrema are looked for."""
BLURRED = LAYERS + 3
DIFFERENCES = LAYERS + 2
BORDER = 5
"""Pixels at the edges where no extremum is looked for."""
STEPS = 5  # that a refinement takes at most

Floats = NDArray[np.float32]

_row = types.Array(types.float32, 1, "C")
_picture = types.Array(types.float32, 2, "C")
_layers = types.Array(types.float32, 3, "C")
_taps = types.Array(types.float32, 2, "C", readonly=True)
_radii = types.Array(types.int64, 1, "C", readonly=True)
_found = types.Array(types.float32, 2, "C")


@njit(nogil=True)
def _scale(target: Floats, source: Floats, tap: Any) -> None:
    for x in range(target.size):
        target[x] = tap * source[x]


@njit(nogil=True, fastmath=True)
def _add(target: Floats, first: Floats, second: Floats, tap: Any) -> None:
    for x in range(target.size):
        target[x] += tap * (first[x] + second[x])


@njit(nogil=True, fastmath=True)
def _add_two(
    target: Floats, first: Floats, second: Floats, tap: Any, third: Floats, fourth: Floats, next_tap: Any
) -> None:
    for x in range(target.size):
        target[x] += tap * (first[x] + second[x]) + next_tap * (third[x] + fourth[x])


@njit(nogil=True)
def _mirrored(place: int, size: int) -> int:
    """A place outside of 0 to size - 1 reflected at the first or last one; the nearest of these if too far out."""
    if place < 0:
        place = -place
    elif place >= size:
        place = 2 * size - 2 - place
    return min(max(place, 0), size - 1)


@njit(nogil=True)
def _blur(source: Floats, target: Floats, half: Floats, taps: Floats, radius: int) -> None:
    """Convolve with taps and their mirror image, down and across; `half` is scratch space of the same shape."""
    height, width = source.shape
    padded = np.empty(width + 2 * radius, np.float32)
    for y in range(height):
        padded[radius : radius + width] = source[y]
        for k in range(1, radius + 1):
            padded[radius - k] = source[y, _mirrored(-k, width)]
            padded[radius + width - 1 + k] = source[y, _mirrored(width - 1 + k, width)]
        row = half[y]
        _scale(row, source[y], taps[0])
        for k in range(1, radius, 2):
            left, right = padded[radius - k :][:width], padded[radius + k :][:width]
            farther_left, farther_right = padded[radius - k - 1 :][:width], padded[radius + k + 1 :][:width]
            _add_two(row, left, right, taps[k], farther_left, farther_right, taps[k + 1])
        if radius % 2:
            _add(row, padded[:width], padded[2 * radius :][:width], taps[radius])
    for y in range(height):
        row = target[y]
        _scale(row, half[y], taps[0])
        for k in range(1, radius, 2):
            _add_two(
                row,
                half[_mirrored(y - k, height)],
                half[_mirrored(y + k, height)],
                taps[k],
                half[_mirrored(y - k - 1, height)],
                half[_mirrored(y + k + 1, height)],
                taps[k + 1],
            )
        if radius % 2:
            _add(
                row,
                half[_mirrored(y - radius, height)],
                half[_mirrored(y + radius, height)],
                taps[radius],
            )


@compiled(types.void(_picture, _layers, _taps, _radii, types.boolean))
def blur_layers(source: Floats, layers: Floats, taps: Floats, radii: NDArray[np.int64], sharp: bool) -> None:
    """Blur float32[h, w] into `layers` float32[BLURRED, h, w], each from the one before it.

    `taps` float32[BLURRED, n] has the middle and one half of a layer's kernel in each row, `radii`
    int64[BLURRED] how many of that half count. The first layer is the source blurred if that is `sharp`, else
    the source.
    """
    half = np.empty_like(source)
    if sharp:
        _blur(source, layers[0], half, taps[0], radii[0])
    else:
        layers[0] = source
    for layer in range(1, layers.shape[0]):
        _blur(layers[layer - 1], layers[layer], half, taps[layer], radii[layer])


@njit(nogil=True)
def _mark(
    own: Floats,
    above: Floats,
    below: Floats,
    finer: Floats,
    coarser: Floats,
    least: Any,
    marks: NDArray[np.uint8],
) -> None:
    """Mark what is larger than `least`, either way, and than six neighbours; `own` has a pixel more at each end."""
    width = above.size
    middle, left, right = own[1:][:width], own[:width], own[2:][:width]
    for x in range(width):
        value = middle[x]
        peak = (value > least) & (value >= left[x]) & (value >= right[x]) & (value >= above[x])
        peak &= (value >= below[x]) & (value >= finer[x]) & (value >= coarser[x])
        pit = (value < -least) & (value <= left[x]) & (value <= right[x]) & (value <= above[x])
        pit &= (value <= below[x]) & (value <= finer[x]) & (value <= coarser[x])
        marks[x] = np.uint8(peak | pit)


@njit(nogil=True)
def _is_extreme(differences: Floats, layer: int, y: int, x: int) -> bool:
    """Whether no neighbour of 26 is as large; of equals the first one counts."""
    value = differences[layer, y, x]
    for dl in range(-1, 2):
        for dy in range(-1, 2):
            for dx in range(-1, 2):
                other = differences[layer + dl, y + dy, x + dx]
                earlier = 9 * dl + 3 * dy + dx < 0
                beaten = other > value if value > 0 else other < value
                if beaten or (earlier and other == value):
                    return False
    return True


@njit(nogil=True)
def _refine(
    differences: Floats,
    layer: int,
    y: int,
    x: int,
    least: float,
    most_edge: float,
    found: NDArray[np.float64],
) -> bool:
    """Where a parabola through the neighbours has its extremum: x, y, layer, and how far it stands out.

    False where that is less than `least`, or where it lies on an edge, along which its place is not certain: the
    principal curvatures differ by a factor of `most_edge` or more (Lowe, section 4).
    """
    layers, height, width = differences.shape
    for _ in range(STEPS):
        finer, own, coarser = differences[layer - 1], differences[layer], differences[layer + 1]
        twice = 2.0 * own[y, x]
        dx = 0.5 * (own[y, x + 1] - own[y, x - 1])
        dy = 0.5 * (own[y + 1, x] - own[y - 1, x])
        ds = 0.5 * (coarser[y, x] - finer[y, x])
        dxx = own[y, x + 1] + own[y, x - 1] - twice
        dyy = own[y + 1, x] + own[y - 1, x] - twice
        dss = coarser[y, x] + finer[y, x] - twice
        dxy = 0.25 * (own[y + 1, x + 1] - own[y + 1, x - 1] - own[y - 1, x + 1] + own[y - 1, x - 1])
        dxs = 0.25 * (coarser[y, x + 1] - coarser[y, x - 1] - finer[y, x + 1] + finer[y, x - 1])
        dys = 0.25 * (coarser[y + 1, x] - coarser[y - 1, x] - finer[y + 1, x] + finer[y - 1, x])
        # The solution of H offset = -gradient, by the adjugate of the symmetric H.
        xx, xy, xs = dyy * dss - dys * dys, dxs * dys - dxy * dss, dxy * dys - dyy * dxs
        yy, ys, ss = dxx * dss - dxs * dxs, dxs * dxy - dxx * dys, dxx * dyy - dxy * dxy
        determinant = dxx * xx + dxy * xy + dxs * xs
        if determinant == 0:
            return False
        across = -(xx * dx + xy * dy + xs * ds) / determinant
        down = -(xy * dx + yy * dy + ys * ds) / determinant
        between = -(xs * dx + ys * dy + ss * ds) / determinant
        if max(abs(across), abs(down), abs(between)) < 0.5:
            strength = abs(own[y, x] + 0.5 * (dx * across + dy * down + ds * between))
            trace = dxx + dyy
            on_edge = ss <= 0 or trace * trace * most_edge >= (most_edge + 1) ** 2 * ss
            found[0], found[1], found[2], found[3] = x + across, y + down, layer + between, strength
            return strength >= least and not on_edge
        if max(abs(across), abs(down), abs(between)) > width + height:
            return False
        x, y, layer = x + round(across), y + round(down), layer + round(between)
        inside = BORDER <= x < width - BORDER and BORDER <= y < height - BORDER
        if not (inside and 1 <= layer <= layers - 2):
            return False
    return False


@compiled(types.int64(_layers, types.float64, types.float64, _found))
def find_extrema(layers: Floats, least: float, most_edge: float, found: Floats) -> int:
    """Find where the differences of blurred layers float32[BLURRED, h, w] are extreme among their neighbours.

    Writes x, y, the place among layers, all finer than whole numbers, how far it stands out, and the layer it was
    found at, to the rows of `found` float32[m, 5]; returns how many, m at most. Leaves out what stands out by less
    than `least`, and edges, as `_refine` tells.
    """
    height, width = layers.shape[1:]
    differences = np.empty((DIFFERENCES, height, width), np.float32)
    for layer in range(DIFFERENCES):
        for y in range(height):
            fine, coarse, own = layers[layer, y], layers[layer + 1, y], differences[layer, y]
            for x in range(width):
                own[x] = coarse[x] - fine[x]
    inner = max(width - 2 * BORDER, 0)
    marks = np.zeros(-(-inner // 8) * 8, np.uint8)
    words = marks.view(np.uint64)  # most are 0: eight are looked at together
    refined = np.empty(4, np.float64)
    count = 0
    first, last = BORDER, BORDER + inner
    for layer in range(1, LAYERS + 1):
        for y in range(BORDER, height - BORDER):
            _mark(
                differences[layer, y, first - 1 : last + 1],
                differences[layer, y - 1, first:last],
                differences[layer, y + 1, first:last],
                differences[layer - 1, y, first:last],
                differences[layer + 1, y, first:last],
                np.float32(0.5 * least),
                marks,
            )
            for word in range(words.size):
                if words[word] == 0:
                    continue
                for place in range(8 * word, min(8 * word + 8, inner)):
                    x = place + BORDER
                    if (
                        count < found.shape[0]
                        and marks[place]
                        and _is_extreme(differences, layer, y, x)
                        and _refine(differences, layer, y, x, least, most_edge, refined)
                    ):
                        found[count, :4] = refined
                        # The layer that is nearest, also where the refinement has moved on to another one.
                        found[count, 4] = min(max(np.rint(refined[2]), 1), LAYERS)
                        count += 1
    return count
