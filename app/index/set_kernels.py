"""The compiled loops that search the tables of an index over sets; see `set_table_kernels`, and `kernels`.

What is compared is one or two runs of memory for each key. So a search reads nothing at random but where keys begin
and where their hashes do. It sees keys in their order, roughly: then those of many queries lie near each other. And
it has both come near while it compares those before.

An answer is made of words, `query << 39 | position << 7 | distance`: sorted, it is in the order of queries and
positions. `set_answer_kernels` tell what they mean.
"""

import numpy as np
from numba import njit, types

from app.compiling import compiled
from app.index.band_kernels import Keys, _reach
from app.index.kernels import Hashes, Ids, _hashes, _ids, _lowest_bit, _popcount
from app.index.set_answer_kernels import _answer, _name_positions, _word
from app.index.set_table_kernels import (
    BANDS,
    LEAST_KEY_BITS,
    Number,
    Rests,
    _keys,
    _rests,
    _sort,
    _turned,
    _turned_back,
    _whole,
)
from app.index.set_window_kernels import WINDOW, _any_near, _ask_for, _in_range, _near_48

_BITS = 64
_ONE = np.uint64(1)
_LOW = np.uint64(2**32 - 1)
_STEPS = 32  # keys for which memory is asked ahead of each use
_RING = 2 * _STEPS
_PARTS = 10  # bits of keys that they are ordered by: memory of what shares them stays in the cache
_AHEAD = 32 * WINDOW  # hashes of a key that are asked for: further ones come by themselves
_MANY = 64  # hashes of a key: of more some are near by 32 bits, mostly, so that all their bits are compared at once
_SEEN = 64  # hashes that are found at one key: of more each is looked up at once
_QUEUE = 32  # keys whose hashes may be near, and are looked at together


@njit(nogil=True)
def _keys_seen(turned: Hashes, sure: Hashes, key_bits: int, flips: Keys) -> Hashes:
    """Words `query << 32 | key` of all keys that queries see, in the order of the keys' first bits.

    They see no keys that differ from their own in bits that are sure.
    """
    down, shift = np.uint64(_BITS - key_bits), np.uint64(max(key_bits - _PARTS, 0))
    begins = np.zeros((1 << _PARTS) + 1, np.int64)
    for number in range(turned.size):
        own, own_sure = turned[number] >> down, sure[number] >> down
        for flip in range(flips.size):
            if np.uint64(flips[flip]) & own_sure == 0:
                begins[((own ^ np.uint64(flips[flip])) >> shift) + _ONE] += 1
    for part in range(1 << _PARTS):
        begins[part + 1] += begins[part]
    seen = np.empty(begins[-1], np.uint64)
    for number in range(turned.size):
        own, own_sure = turned[number] >> down, sure[number] >> down
        for flip in range(flips.size):
            if np.uint64(flips[flip]) & own_sure != 0:
                continue
            key = own ^ np.uint64(flips[flip])
            seen[begins[key >> shift]] = np.uint64(number) << np.uint64(32) | key
            begins[key >> shift] += 1
    return seen


@njit(nogil=True)
def _is_first(band: int, radius: int, key_bits: int, difference: np.uint64) -> bool:
    """Whether no earlier band finds a hash that differs so, turned for this band: each is reported once."""
    difference = _turned_back(band, difference)
    for earlier in range(band):
        own = _turned(earlier, difference) >> np.uint64(_BITS - key_bits)
        if _popcount(own) <= _reach(radius, BANDS, earlier):
            return False
    return True


@njit(nogil=True)
def _asked_at(
    key: Number, key_bits: int, turned: np.uint64, sure: np.uint64, radius: int
) -> tuple[np.uint32, np.uint32, np.uint32, np.uint32, np.uint32]:
    """What a key's hashes are compared with: 32 bits of a query, then 16; which of these are sure, and by how many
    bits all may differ."""
    # With what a table has beside the first bits of a key, a hash is whole.
    beyond = _popcount(key >> np.uint64(key_bits - LEAST_KEY_BITS) ^ turned >> np.uint64(48))
    return (
        np.uint32(turned & _LOW),
        np.uint32(turned >> np.uint64(32) & np.uint64(0xFFFF)),
        np.uint32(sure & _LOW),
        np.uint32(sure >> np.uint64(32) & np.uint64(0xFFFF)),
        np.uint32(radius - beyond),
    )


@njit(nogil=True)
def _values_near(
    low: Keys,
    rest: Rests,
    band: int,
    key: Number,
    key_bits: int,
    begin: Number,
    end: Number,
    turned: np.uint64,
    sure: np.uint64,
    radius: int,
    values: Hashes,
) -> int:
    """Write the hashes of a key that are within the radius, and that no earlier band finds; returns the count.

    What finds no room is counted all the same.
    """
    count = 0
    query_low, query_rest, sure_low, sure_rest, near = _asked_at(key, key_bits, turned, sure, radius)
    for window in range(begin & -WINDOW, end, WINDOW):
        bits = _near_48(low, rest, np.uint64(window), query_low, query_rest, sure_low, sure_rest, near)
        if bits == 0:
            continue
        bits &= _in_range(window, begin, end)
        while bits != 0:
            place = np.uint64(window + _lowest_bit(bits))
            bits &= bits - _ONE
            value = _whole(key, key_bits, low, rest, place)
            if _is_first(band, radius, key_bits, value ^ turned):
                if count < values.size:
                    values[count] = _turned_back(band, value)
                count += 1
    return count


@njit(nogil=True)
def _each_once(values: Hashes) -> int:
    """Sort values, and put each to the front once; returns the count."""
    _sort(values)
    distinct = 0
    for number in range(values.size):
        if number == 0 or values[number] != values[number - 1]:
            values[distinct] = values[number]
            distinct += 1
    return distinct


@njit(nogil=True)
def _first_not_below(low: Keys, begin: Number, end: Number, wanted: np.uint64) -> np.uint64:
    while begin < end:
        middle = (begin + end) >> _ONE
        if np.uint64(low[middle]) < wanted:
            begin = middle + _ONE
        else:
            end = middle
    return np.uint64(begin)


@njit(nogil=True)
def _look_up(
    begins: Keys,
    low: Keys,
    rest: Rests,
    key_bits: int,
    queries: Hashes,
    values: Hashes,
    numbers: Ids,
    found: Hashes,
    count: int,
) -> int:
    """Append all places of hashes in the first table to the answers of those who found them; returns the count."""
    down = np.uint64(_BITS - key_bits)
    places, ends = np.empty(values.size, np.uint64), np.empty(values.size, np.uint64)
    for one in range(values.size):
        _ask_for(begins, _turned(0, values[one]) >> down)
    for one in range(values.size):
        key = _turned(0, values[one]) >> down
        places[one], ends[one] = begins[key], begins[key + _ONE]
        begin, end = np.int64(places[one]), np.int64(ends[one])
        for window in range(begin & -WINDOW, min(end, begin + _AHEAD), WINDOW):
            _ask_for(low, window)
    for one in range(values.size):
        places[one] = _first_not_below(low, places[one], ends[one], _turned(0, values[one]) & _LOW)
        _ask_for(rest, places[one])
    for one in range(values.size):
        turned = _turned(0, values[one])
        distance = _popcount(values[one] ^ queries[numbers[one]])
        place = places[one]
        while place < ends[one] and np.uint64(low[place]) == turned & _LOW:
            if _whole(turned >> down, key_bits, low, rest, place) == turned:
                if count < found.size:
                    found[count] = _word(numbers[one], place, distance)
                count += 1
            place += _ONE
    return count


@njit(nogil=True)
def _compare_first(
    low: Keys,
    rest: Rests,
    key: Number,
    key_bits: int,
    begin: Number,
    end: Number,
    turned: np.uint64,
    sure: np.uint64,
    radius: int,
    number: int,
    found: Hashes,
    count: int,
) -> int:
    """Append the places of a key's hashes within the radius, of the first table; returns the count."""
    query_low, query_rest, sure_low, sure_rest, near = _asked_at(key, key_bits, turned, sure, radius)
    for window in range(begin & -WINDOW, end, WINDOW):
        bits = _near_48(low, rest, np.uint64(window), query_low, query_rest, sure_low, sure_rest, near)
        if bits == 0:
            continue
        bits &= _in_range(window, begin, end)
        while bits != 0:
            place = window + _lowest_bit(bits)
            bits &= bits - _ONE
            if count < found.size:
                distance = _popcount(_whole(key, key_bits, low, rest, np.uint64(place)) ^ turned)
                found[count] = _word(number, place, distance)
            count += 1
    return count


@njit(nogil=True)
def _settle(
    begins: Keys,
    low: Keys,
    rest: Rests,
    first_begins: Keys,
    first_low: Keys,
    first_rest: Rests,
    band: int,
    key_bits: int,
    queries: Hashes,
    sure: Hashes,
    numbers: Ids,
    keys: Hashes,
    radius: int,
    found: Hashes,
    count: int,
) -> int:
    """Append what queries of these numbers find at these keys, and in no earlier band; returns the count."""
    values, whose = np.empty(_SEEN * keys.size, np.uint64), np.empty(_SEEN * keys.size, np.int64)
    waiting = 0
    for one in range(keys.size):
        number, key = numbers[one], keys[one]
        turned, own_sure = _turned(band, queries[number]), _turned(band, sure[number])
        begin, end = np.int64(begins[key]), np.int64(begins[key + _ONE])
        if band == 0:
            count = _compare_first(
                low, rest, key, key_bits, begin, end, turned, own_sure, radius, number, found, count
            )
            continue
        room = values[waiting : waiting + _SEEN]
        more = _values_near(low, rest, band, key, key_bits, begin, end, turned, own_sure, radius, room)
        if more <= _SEEN:
            more = _each_once(room[:more])
            whose[waiting : waiting + more] = number
            waiting += more
        else:
            many = np.empty(more, np.uint64)
            _values_near(low, rest, band, key, key_bits, begin, end, turned, own_sure, radius, many)
            many = many[: _each_once(many)]
            its = np.full(many.size, number, np.int64)
            count = _look_up(first_begins, first_low, first_rest, key_bits, queries, many, its, found, count)
    some, its = values[:waiting], whose[:waiting]
    return _look_up(first_begins, first_low, first_rest, key_bits, queries, some, its, found, count)


@njit(nogil=True)
def _search_band(
    begins: Keys,
    low: Keys,
    rest: Rests,
    first_begins: Keys,
    first_low: Keys,
    first_rest: Rests,
    band: int,
    key_bits: int,
    queries: Hashes,
    sure: Hashes,
    flips: Keys,
    radius: int,
    found: Hashes,
    count: int,
) -> int:
    """Append what a band finds, and no earlier one; returns the count."""
    tables = (begins, low, rest, first_begins, first_low, first_rest, band, key_bits, queries, sure)
    down = np.uint64(_BITS - key_bits)
    turned, turned_sure = np.empty_like(queries), np.empty_like(sure)
    for number in range(queries.size):
        turned[number], turned_sure[number] = _turned(band, queries[number]), _turned(band, sure[number])
    seen = _keys_seen(turned, turned_sure, key_bits, flips)
    froms, tos = np.empty(_RING, np.int64), np.empty(_RING, np.int64)
    numbers, keys = np.empty(_QUEUE, np.int64), np.empty(_QUEUE, np.uint64)
    waiting = 0
    for step in range(seen.size + 2 * _STEPS):
        if step < seen.size:
            _ask_for(begins, seen[step] & _LOW)
        place = step - _STEPS
        if 0 <= place < seen.size:
            key = seen[place] & _LOW
            begin, end = np.int64(begins[key]), np.int64(begins[key + _ONE])
            froms[place % _RING], tos[place % _RING] = begin, end
            end = min(end, begin + _AHEAD)
            for window in range(begin & -WINDOW, end, WINDOW):
                _ask_for(low, window)
            # With few hashes, the rest of them is seldom needed.
            for window in range(begin, end if end - begin > _MANY else begin, 2 * WINDOW):
                _ask_for(rest, window)
        place -= _STEPS
        if place < 0:
            continue
        begin, end = froms[place % _RING], tos[place % _RING]
        whose, key = np.int64(seen[place] >> np.uint64(32)), seen[place] & _LOW
        query, own_sure = turned[whose], turned_sure[whose]
        near = radius - _popcount(key ^ query >> down)
        if begin == end or (end - begin <= _MANY and not _any_near(low, begin, end, query, own_sure, near)):
            continue
        _ask_for(rest, begin)
        _ask_for(rest, end - 1)
        numbers[waiting], keys[waiting] = whose, key
        waiting += 1
        if waiting == _QUEUE:
            count = _settle(*tables, numbers, keys, radius, found, count)
            waiting = 0
    return _settle(*tables, numbers[:waiting], keys[:waiting], radius, found, count)


_each_band = tuple(map(types.Tuple, ([_keys] * BANDS, [_keys] * BANDS, [_rests] * BANDS)))


@compiled(types.int64(*_each_band, _keys, types.int64, _hashes, _hashes, _keys, _ids, types.int64, _answer))
def search_sets(
    begins: tuple[Keys, ...],
    lows: tuple[Keys, ...],
    rests: tuple[Rests, ...],
    positions: Keys,
    key_bits: int,
    queries: Hashes,
    sure: Hashes,
    flips: Keys,
    seen: Ids,
    radius: int,
    found: Hashes,
) -> int:
    """Find all within the radius of each rearranged query, in no particular order; returns the count.

    `sure` uint64, one for each query and rearranged as they are, are the bits that must not differ. `flips`
    uint32 are what keys near to a query's own differ in, those of fewer bits first; `seen` int64[3] is how many of
    them each band sees at most. What finds no room is counted all the same. What other tables than the first have
    beside its hashes is not found.
    """
    count = 0
    first_begins, first_low, first_rest = begins[0], lows[0], rests[0]
    for band in range(BANDS):
        count = _search_band(
            begins[band],
            lows[band],
            rests[band],
            first_begins,
            first_low,
            first_rest,
            band,
            key_bits,
            queries,
            sure,
            flips[: seen[band]],
            radius,
            found,
            count,
        )
    if count <= found.size:
        _name_positions(positions, found[:count])
    return count
