"""The compiled loops of the Hamming engines: popcount as one instruction, the GIL released.

Every kernel has an explicit signature: importing this module loads it from the cache, or compiles it there
and then; a call never compiles. See `app.kernels` for when that happens.

A kernel that writes an answer fills `found_ids` and `distances` as far as they go; it goes on counting what no
longer fits, so the caller learns the room that it needs.

`app.compiling` has the cache notice a change of any file whose name ends in `kernels.py`: kernels stay in those.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from app.compiling import compiled, keeping_gil

Hashes = NDArray[np.uint64]
Ids = NDArray[np.int64]
Distances = NDArray[np.uint8]
Ticks = NDArray[np.uint32]


_PIECE = 1 << 14  # hashes
_MANY = 26  # bits within which so many random hashes lie that most of the memory of ids is read
_WINDOW = 64  # hashes compared together: a bit of a word for each
_ONE = np.uint64(1)
_ALL = np.uint64(2**64 - 1)


def _popcount_code(_context: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.int64(types.uint64), generate


def _lowest_bit_code(_context: Any, _value: Any) -> Any:
    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), generate


def _near_code(lanes: int) -> Any:
    """Code that compares `lanes` hashes by vector instructions, whichever the processor has."""
    word, number = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(word, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    firsts = ir.Constant(ir.VectorType(number, lanes), [0] * lanes)

    def code(_context: Any, values: Any, _addresses: Any, _query: Any, _radius: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            def in_each_lane(value: Any) -> Any:
                one = builder.insert_element(undefined, value, ir.Constant(number, 0))
                return builder.shuffle_vector(one, undefined, firsts)

            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            address = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
            differences = builder.xor(builder.load(address, align=8), in_each_lane(arguments[2]))
            counting = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{lanes}i64"
            )
            near = builder.icmp_unsigned(
                "<=", builder.call(counting, [differences]), in_each_lane(arguments[3])
            )
            return builder.zext(builder.bitcast(near, ir.IntType(lanes)), word)

        return types.uint64(values, types.uint64, types.uint64, types.uint64), generate

    return code


def _prefetch_code(_context: Any, values: Any, place: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number = ir.IntType(32)
        pointer = ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
            "llvm.prefetch.p0",
        )
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        builder.call(
            function, [address, *(ir.Constant(number, value) for value in (0, 3, 1))]
        )  # read, keep, data
        return context.get_dummy_value()

    return types.void(values, place), generate


_popcount: Any = intrinsic(_popcount_code)  # number of set bits of a uint64
_lowest_bit: Any = intrinsic(_lowest_bit_code)  # number of the lowest set bit of a uint64 that is not 0
_prefetch: Any = intrinsic(_prefetch_code)  # ask for the cache line of values[place], and do not wait
# (hashes, place, query, radius) -> which of hashes[place : place + 64 or 8] are within the radius, a bit for each
_near_64: Any = intrinsic(_near_code(_WINDOW))
_near_8: Any = intrinsic(_near_code(8))


@njit(nogil=True)
def _append(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    window: np.uint64,
    near: np.uint64,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Append those of the entries from `window` on whose bit in `near` is set, and that live; returns the count.

    Ids are left to `_fetch_ids` unless there are many.
    """
    if died.size > 0:
        rest = near
        while rest != 0:
            bit = np.uint64(_lowest_bit(rest))
            rest &= rest - _ONE
            if 0 < died[window + bit] <= clock:
                near ^= _ONE << bit
    count: int = _popcount(near)
    if found + count <= found_ids.size:
        place = np.uint64(found)
        while near != 0:
            position = window + np.uint64(_lowest_bit(near))
            near &= near - _ONE
            found_ids[place] = ids[position] if radius >= _MANY else np.int64(position)
            distances[place] = _popcount(hashes[position] ^ query)
            place += _ONE
    return found + count


@njit(nogil=True)
def _fetch_ids(ids: Ids, found_ids: Ids, start: int, stop: int) -> None:
    """Put ids in the place of positions in an answer, if it found room: of many at once, to wait for them once."""
    if stop <= found_ids.size:
        for place in range(np.uint64(start), np.uint64(stop)):
            found_ids[place] = ids[np.uint64(found_ids[place])]


@njit(nogil=True)
def _collect(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    start: int,
    stop: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Append what lives and lies within `radius` among the entries from `start` to `stop`; returns the count.

    What is left of the range after whole windows is in the window that ends where the range does.
    """
    before = found
    whole = start + (stop - start) // _WINDOW * _WINDOW
    for window in range(start, whole, _WINDOW):
        near = _near_64(hashes, np.uint64(window), query, np.uint64(radius))
        if near != 0:
            found = _append(
                hashes, ids, died, clock, np.uint64(window), near, query, radius, found_ids, distances, found
            )
    if whole < stop:
        first = max(stop - _WINDOW, 0)
        if hashes.size >= _WINDOW:
            near = _near_64(hashes, np.uint64(first), query, np.uint64(radius))
            near &= _ALL << np.uint64(whole - first)
            near &= _ALL >> np.uint64(_WINDOW - (stop - first))
        else:
            near = np.uint64(0)
            for position in range(whole, stop):
                is_near = _popcount(hashes[position] ^ query) <= radius
                near |= np.uint64(is_near) << np.uint64(position)
        if near != 0:
            found = _append(
                hashes, ids, died, clock, np.uint64(first), near, query, radius, found_ids, distances, found
            )
    if radius < _MANY:
        _fetch_ids(ids, found_ids, before, found)
    return found


@njit(nogil=True)
def _scan(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """As `_collect`, for all entries; in pieces, so that what is found is named before it leaves the cache."""
    for start in range(0, hashes.size, _PIECE):
        stop = min(start + _PIECE, hashes.size)
        found = _collect(hashes, ids, died, clock, start, stop, query, radius, found_ids, distances, found)
    return found


_hashes = types.uint64[::1]
_ids = types.int64[::1]
_radius = types.int64
_entries = (_hashes, _ids, types.uint32[::1], types.int64)
_answer = (types.int64[::1], types.uint8[::1], types.int64)
_answers = (types.int64[::1], types.int64[::1], types.uint8[::1])
_progress: Any = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]


@compiled(types.int64(*_entries, types.uint64, _radius, *_answer))
def scan(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    query: np.uint64,
    radius: int,
    found_ids: Ids,
    distances: Distances,
    found: int,
) -> int:
    """Append the ids of living entries within `radius` of `query`, and their distances, to an answer of `found`.

    Returns the count, with those for which there was no room.
    """
    return _scan(hashes, ids, died, clock, query, radius, found_ids, distances, found)


scan_keeping_gil = keeping_gil(scan)


@compiled(_progress(*_entries, _hashes, types.int64, _radius, *_answers))
def scan_many(
    hashes: Hashes,
    ids: Ids,
    died: Ticks,
    clock: int,
    queries: Hashes,
    next_query: int,
    radius: int,
    numbers: Ids,
    found_ids: Ids,
    distances: Distances,
) -> tuple[int, int, int]:
    """`scan` for queries[next_query:], as many of them as there is room for; `numbers` says who found what.

    Returns the first query that is not answered, the count of the answers to those before, and how many
    answers that query has.
    """
    found = 0
    for number in range(next_query, queries.size):
        after = _scan(hashes, ids, died, clock, queries[number], radius, found_ids, distances, found)
        if after > found_ids.size:
            return number, found, after - found
        numbers[found:after] = number
        found = after
    return queries.size, found, 0


scan_many_keeping_gil = keeping_gil(scan_many)
