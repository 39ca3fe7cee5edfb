"""The compiled loops that find an entry by its id; see `kernels` for what holds for all kernels."""

import numpy as np
from numba import njit, types
from numpy.typing import NDArray

from app.compiling import compiled, keeping_gil
from app.index.kernels import Ids, _ids

_DIGIT = 12  # bits


@njit(nogil=True)
def _digit(number: int, low: int, shift: np.uint64) -> int:
    """Some bits of how much larger than `low` a number is."""
    return int((np.uint64(number) - np.uint64(low)) >> shift & np.uint64((1 << _DIGIT) - 1))


@compiled(types.uint32[::1](_ids))
def order_of(ids: Ids) -> NDArray[np.uint32]:
    """The order that sorts `ids` int64[n], as a stable np.argsort: by counting sorts, from the lowest digit."""
    order, spare = np.empty(ids.size, np.uint32), np.empty(ids.size, np.uint32)
    if ids.size == 0:
        return order
    low = high = ids[0]
    for position in range(ids.size):
        order[position] = position
        low, high = min(low, ids[position]), max(high, ids[position])
    span = np.uint64(high) - np.uint64(low)
    shift = np.uint64(0)
    while span >> shift != 0:
        starts = np.zeros((1 << _DIGIT) + 1, np.uint32)
        for position in range(ids.size):
            starts[_digit(ids[position], low, shift) + 1] += np.uint32(1)
        for value in range(1 << _DIGIT):
            starts[value + 1] += starts[value]
        for place in range(ids.size):
            position = order[place]
            digit = _digit(ids[position], low, shift)
            spare[starts[digit]] = position
            starts[digit] += np.uint32(1)
        order, spare = spare, order
        shift += np.uint64(_DIGIT)
        if shift >= 64:
            break
    return order


@compiled(types.int64[::1](_ids, types.uint32[::1], _ids))
def locate(ids: Ids, by_id: NDArray[np.uint32], wanted: Ids) -> NDArray[np.int64]:
    """Where each of `wanted` is in `ids`, -1 if it is not there; `by_id` is the order that sorts `ids`."""
    positions = np.empty(wanted.size, np.int64)
    for number in range(wanted.size):
        low = 0
        high = by_id.size
        while low < high:
            middle = (low + high) // 2
            if ids[by_id[middle]] < wanted[number]:
                low = middle + 1
            else:
                high = middle
        is_there = low < by_id.size and ids[by_id[low]] == wanted[number]
        positions[number] = by_id[low] if is_there else -1
    return positions


locate_keeping_gil = keeping_gil(locate)
