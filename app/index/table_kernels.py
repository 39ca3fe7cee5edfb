"""The compiled loops that build the tables of multi-index hashing; see `kernels` for what holds for all kernels."""

import numpy as np
from numba import njit, types

from app.compiling import compiled
from app.index.band_kernels import Keys, _rearranged, _shift, _width
from app.index.kernels import Hashes, _hashes

_LOW_BITS = 13  # of a key: as many more make the parts that a table is sorted in
_ONE = np.uint64(1)
_moves = types.uint64[:, ::1]


@compiled(types.void(_hashes, _moves, _hashes))
def rearrange(hashes: Hashes, moves: Hashes, moved: Hashes) -> None:
    """Write each of `hashes` uint64[n] to `moved` uint64[n] with its bits where `moves` puts them."""
    for position in range(hashes.size):
        moved[position] = _rearranged(moves, hashes[position])


@njit(nogil=True)
def _starts_of(hashes: Hashes, shift: np.uint64, first: int, starts: Keys) -> None:
    """Where a counting sort puts the hashes of each value that the bits from `shift` on have, from `first` on."""
    mask = np.uint64(starts.size - 1)
    starts[:] = 0
    for position in range(hashes.size):
        starts[hashes[position] >> shift & mask] += np.uint32(1)
    start = np.uint32(first)
    for value in range(starts.size):
        count = starts[value]
        starts[value] = start
        start += count


@njit(nogil=True)
def _next_place(starts: Keys, value: np.uint64) -> np.uint32:
    place: np.uint32 = starts[value]
    starts[value] = place + np.uint32(1)
    return place


@compiled(types.void(_hashes, types.int64, types.int64, types.uint32[::1], _hashes, types.uint32[::1]))
def fill_table(hashes: Hashes, bands: int, band: int, starts: Keys, in_order: Hashes, places: Keys) -> None:
    """Counting sort of rearranged hashes by a band's keys: `in_order`, `places` where they were, `starts` by key.

    `starts` has a place for each key and one more; those of key k end where those of k + 1 start. It sorts by the
    high bits, then each part by the low ones: what is written to at random stays in the processor's cache.
    """
    width = np.uint64(_width(bands, band))
    shift = np.uint64(_shift(bands, band))
    low_bits = min(np.uint64(_LOW_BITS), width - _ONE)  # one is high at least: a shift by 64 is undefined
    ends = np.empty(1 << (width - low_bits), np.uint32)
    high_mask = np.uint64(ends.size - 1)
    _starts_of(hashes, shift + low_bits, 0, ends)
    for position in range(hashes.size):
        place = _next_place(ends, hashes[position] >> (shift + low_bits) & high_mask)
        in_order[place] = hashes[position]
        places[place] = position
    keys = 1 << low_bits
    own_starts = np.empty(keys, np.uint32)
    spare_hashes, spare_places = np.empty(0, np.uint64), np.empty(0, np.uint32)
    begin = 0
    for part in range(ends.size):
        end = int(ends[part])
        if end - begin > spare_hashes.size:
            spare_hashes, spare_places = np.empty(end - begin, np.uint64), np.empty(end - begin, np.uint32)
        count = end - begin
        spare_hashes[:count] = in_order[begin:end]
        spare_places[:count] = places[begin:end]
        _starts_of(spare_hashes[:count], shift, begin, own_starts)
        starts[part * keys : (part + 1) * keys] = own_starts
        for number in range(count):
            place = _next_place(own_starts, spare_hashes[number] >> shift & np.uint64(keys - 1))
            in_order[place] = spare_hashes[number]
            places[place] = spare_places[number]
        begin = end
    starts[starts.size - 1] = hashes.size
