"""The compiled loops that lay one picture on another to the pixel, and compare them block by block."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled

PARAMETERS = 8
"""Of a homography, row by row; its last number is 1."""
LEFT_OUT = -2.0
"""In the place of a correlation: a block that is not compared."""

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]

_picture = types.Array(types.float32, 2, "C")
_kept = types.Array(types.float32, 2, "C", readonly=True)
_means = types.Array(types.float32, 3, "C")
_matrix = types.Array(types.float64, 2, "C", readonly=True)
_sums = types.Array(types.float64, 2, "C")
_vector = types.Array(types.float64, 1, "C")
_shifts = types.Array(types.float32, 1, "C")
_ids = types.Array(types.int64, 1, "C")


@compiled(types.void(_kept, types.int64, types.float64, _picture))
def normalise_locally(picture: Floats, reach: int, noise: float, target: Floats) -> None:
    """What each pixel differs from the mean around it by, in standard deviations around it, `noise` added to these.

    Around it are 2 `reach` + 1 pixels each way, less at the edges. So light that changes over a picture counts
    little.
    """
    height, width = picture.shape
    sums, squares = np.zeros((height + 1, width + 1)), np.zeros((height + 1, width + 1))
    for y in range(height):
        row, row_squares = 0.0, 0.0
        for x in range(width):
            value = np.float64(picture[y, x])
            row += value
            row_squares += value * value
            sums[y + 1, x + 1] = sums[y, x + 1] + row
            squares[y + 1, x + 1] = squares[y, x + 1] + row_squares
    for y in range(height):
        top, bottom = max(y - reach, 0), min(y + reach + 1, height)
        for x in range(width):
            left, right = max(x - reach, 0), min(x + reach + 1, width)
            count = (bottom - top) * (right - left)
            mean = (sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]) / count
            square = squares[bottom, right] - squares[top, right] - squares[bottom, left] + squares[top, left]
            variance = max(square / count - mean * mean, 0.0) + noise * noise
            target[y, x] = (picture[y, x] - mean) / np.sqrt(variance)


@compiled(types.float64(_kept, _kept, _matrix, types.int64, types.float64, _sums, _vector))
def find_slopes(
    template: Floats,
    picture: Floats,
    warp: Doubles,
    every: int,
    usual: float,
    sums: Doubles,
    slope: Doubles,
) -> float:
    """How well a picture lies on a template, and what Gauss and Newton's next step is computed from.

    `warp` float64[3, 3] takes pixels of the template, centred and scaled to -1 to 1 along the long side, to
    pixels of the picture. The sums of products of slopes by its numbers are written to `sums` float64[8, 8],
    and those of slopes and differences to `slope` float64[8]: the step is the solution of the one for the
    other. Every n-th pixel and row count, the less the more they differ beyond `usual` (Cauchy's weights).
    Returned is the correlation, -2 where too little of the picture lies on the template.
    """
    height, width = template.shape
    down, across = picture.shape
    middle_x, middle_y, unit = 0.5 * (width - 1), 0.5 * (height - 1), 0.5 * max(width, height)
    sums[:] = 0
    slope[:] = 0
    slopes = np.empty(PARAMETERS)
    own_squares, their_squares, products, count = 0.0, 0.0, 0.0, 0
    for row in range(0, height, every):
        y = (row - middle_y) / unit
        for column in range(0, width, every):
            x = (column - middle_x) / unit
            share = 1.0 / (warp[2, 0] * x + warp[2, 1] * y + warp[2, 2])
            u = (warp[0, 0] * x + warp[0, 1] * y + warp[0, 2]) * share
            v = (warp[1, 0] * x + warp[1, 1] * y + warp[1, 2]) * share
            if not (u >= 0 and v >= 0 and u < across - 1 and v < down - 1):
                continue
            left, top = int(u), int(v)
            right, low = u - left, v - top
            a, b = picture[top, left], picture[top, left + 1]
            c, d = picture[top + 1, left], picture[top + 1, left + 1]
            upper, lower = a + (b - a) * right, c + (d - c) * right
            own, theirs = upper + (lower - upper) * low, np.float64(template[row, column])
            own_squares += own * own
            their_squares += theirs * theirs
            products += own * theirs
            count += 1
            difference = theirs - own
            weight = 1.0 / (1.0 + (difference / usual) ** 2)
            along = (b - a + (d - c - b + a) * low) * share
            downward = (lower - upper) * share
            slopes[0], slopes[1], slopes[2] = along * x, along * y, along
            slopes[3], slopes[4], slopes[5] = downward * x, downward * y, downward
            tilt = -(along * u + downward * v)
            slopes[6], slopes[7] = tilt * x, tilt * y
            for k in range(PARAMETERS):
                weighted = weight * slopes[k]
                slope[k] += weighted * difference
                for other in range(k + 1):
                    sums[k, other] += weighted * slopes[other]
    if count * every * every < 0.02 * height * width or own_squares <= 0 or their_squares <= 0:
        return -2.0
    for k in range(PARAMETERS):
        for other in range(k):
            sums[other, k] = sums[k, other]
    return float(products / np.sqrt(own_squares * their_squares))


@njit(nogil=True)
def _value_at(picture: Floats, u: float, v: float) -> float:
    """What a picture is between four pixels (bilinear)."""
    first, above = int(u), int(v)
    right, low = u - first, v - above
    upper = np.float64(picture[above, first])
    upper += (picture[above, first + 1] - upper) * right
    lower = np.float64(picture[above + 1, first])
    lower += (picture[above + 1, first + 1] - lower) * right
    return float(upper + (lower - upper) * low)


@njit(nogil=True)
def _weaker_slope(template: Floats, top: int, left: int, side: int) -> float:
    """Root mean square of a block's slopes in the direction in which these are least: 0 of flat ones and of
    edges."""
    height, width = template.shape
    across, down, both = 0.0, 0.0, 0.0
    for row in range(max(top, 1), min(top + side, height - 1)):
        for column in range(max(left, 1), min(left + side, width - 1)):
            x = 0.5 * (template[row, column + 1] - template[row, column - 1])
            y = 0.5 * (template[row + 1, column] - template[row - 1, column])
            across += x * x
            down += y * y
            both += x * y
    middle, half = 0.5 * (across + down), 0.5 * (across - down)
    return float(np.sqrt(max(middle - np.sqrt(half * half + both * both), 0.0)) / side)


@njit(nogil=True)
def _shift_between(template: Floats, picture: Floats) -> float:
    """By how many pixels one of two blocks would have to be moved to lie on the other (Lucas and Kanade, 1981)."""
    side = len(template)
    across, down, both, along, downward = 0.0, 0.0, 0.0, 0.0, 0.0
    for y in range(1, side - 1):
        for x in range(1, side - 1):
            right = 0.25 * (template[y, x + 1] - template[y, x - 1] + picture[y, x + 1] - picture[y, x - 1])
            low = 0.25 * (template[y + 1, x] - template[y - 1, x] + picture[y + 1, x] - picture[y - 1, x])
            difference = template[y, x] - picture[y, x]
            across += right * right
            down += low * low
            both += right * low
            along += right * difference
            downward += low * difference
    area = across * down - both * both
    if area <= 1e-6 * across * down:
        return float(side)
    sideways, upright = (down * along - both * downward) / area, (across * downward - both * along) / area
    return float(min(np.sqrt(sideways * sideways + upright * upright), side))


@compiled(types.int64(_kept, _kept, _kept, _matrix, types.int64, types.float64, _picture, _shifts))
def compare_blocks(
    template: Floats,
    normal_template: Floats,
    normal_picture: Floats,
    warp: Doubles,
    side: int,
    least_slope: float,
    scores: Floats,
    shifts: Floats,
) -> int:
    """Correlation of a picture with a template, block by block, and by how many pixels each block lies beside
    where it should, one after the other; returns how many blocks there are.

    Both as `normalise_locally` made them, `warp` as in `find_slopes`. Left out are blocks that do not lie on the
    picture whole, and those where the template as it was has slopes of less than `least_slope`, in levels a pixel,
    in some direction: flat blocks, and straight edges, which lie on each other wherever they are laid along
    themselves. `scores` float32[r, c] has a place for each block, and LEFT_OUT where it is; `shifts` float32[m] has
    room for all.
    """
    height, width = template.shape
    down, across = normal_picture.shape
    middle_x, middle_y, unit = 0.5 * (width - 1), 0.5 * (height - 1), 0.5 * max(width, height)
    found = 0
    scores[:] = LEFT_OUT
    block = np.empty((side, side), np.float32)
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            own, theirs, own_squares, their_squares, products = 0.0, 0.0, 0.0, 0.0, 0.0
            whole = _weaker_slope(template, top, left, side) >= least_slope
            for row in range(top, top + side):
                if not whole:
                    break
                y = (row - middle_y) / unit
                for column in range(left, left + side):
                    x = (column - middle_x) / unit
                    share = 1.0 / (warp[2, 0] * x + warp[2, 1] * y + warp[2, 2])
                    u = (warp[0, 0] * x + warp[0, 1] * y + warp[0, 2]) * share
                    v = (warp[1, 0] * x + warp[1, 1] * y + warp[1, 2]) * share
                    if not (u >= 0 and v >= 0 and u < across - 1 and v < down - 1):
                        whole = False
                        break
                    value, wanted = _value_at(normal_picture, u, v), np.float64(normal_template[row, column])
                    block[row - top, column - left] = value
                    own += value
                    theirs += wanted
                    own_squares += value * value
                    their_squares += wanted * wanted
                    products += value * wanted
            if not whole:
                continue
            count = side * side
            own_spread = np.sqrt(max(own_squares / count - (own / count) ** 2, 0.0))
            their_spread = np.sqrt(max(their_squares / count - (theirs / count) ** 2, 0.0))
            likeness = (products / count - own * theirs / count**2) / (own_spread * their_spread + 1e-6)
            scores[top // side, left // side] = likeness
            shifts[found] = _shift_between(normal_template[top : top + side, left : left + side], block)
            found += 1
    return found


@compiled(types.void(_kept, _kept, _matrix, types.int64, types.int64, _means))
def average_blocks(
    template: Floats, picture: Floats, warp: Doubles, side: int, every: int, means: Floats
) -> None:
    """Write the mean greys of a picture and of a template, block by block, float32[r, c, 2], of each `every`th
    pixel each way; NaN for blocks of which one of those does not lie on the picture. `warp` is as in `find_slopes`.
    """
    height, width = template.shape
    down, across = picture.shape
    middle_x, middle_y, unit = 0.5 * (width - 1), 0.5 * (height - 1), 0.5 * max(width, height)
    means[:] = np.nan
    for top in range(0, height - side + 1, side):
        for left in range(0, width - side + 1, side):
            own, theirs, count = 0.0, 0.0, 0
            whole = True
            for row in range(top, top + side, every):
                y = (row - middle_y) / unit
                for column in range(left, left + side, every):
                    x = (column - middle_x) / unit
                    share = 1.0 / (warp[2, 0] * x + warp[2, 1] * y + warp[2, 2])
                    u = (warp[0, 0] * x + warp[0, 1] * y + warp[0, 2]) * share
                    v = (warp[1, 0] * x + warp[1, 1] * y + warp[1, 2]) * share
                    if not (u >= 0 and v >= 0 and u < across - 1 and v < down - 1):
                        whole = False
                        break
                    own += _value_at(picture, u, v)
                    theirs += template[row, column]
                    count += 1
                if not whole:
                    break
            if whole:
                means[top // side, left // side, 0] = own / count
                means[top // side, left // side, 1] = theirs / count


@compiled(types.void(_matrix, _ids))
def heaviest_rectangle(weights: Doubles, rectangle: Ids) -> None:
    """Write the rows and columns, first and behind the last of each, int64[4], of the rectangle whose weights
    float64[r, c] have the largest sum; zeros if none is above 0."""
    rows, columns = weights.shape
    rectangle[:] = 0
    most = 0.0
    sums = np.empty(columns)
    for top in range(rows):
        sums[:] = 0.0
        for bottom in range(top, rows):
            total, left = 0.0, 0
            for column in range(columns):
                sums[column] += weights[bottom, column]
                if total <= 0.0:
                    total, left = 0.0, column
                total += sums[column]
                if total > most:
                    most = total
                    rectangle[0], rectangle[1] = top, bottom + 1
                    rectangle[2], rectangle[3] = left, column + 1
