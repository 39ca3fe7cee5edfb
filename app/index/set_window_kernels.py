"""The compiled loops that compare windows of hashes: 16 together, by 32 of the bits that a table has of each, or by
all 48.

See `set_kernels` for how they are used, and `kernels` for what holds for all kernels.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from app.index.band_kernels import Keys
from app.index.kernels import _ALL
from app.index.set_table_kernels import Number

WINDOW = 16
"""Hashes compared together. Rows are as much longer than what is in them."""

_ONE = np.uint64(1)
_LOW = np.uint64(2**32 - 1)


def _near_16_code(_context: Any, values: Any, _place: Any, _query: Any, _sure: Any, _radius: Any) -> Any:
    """As `kernels._near_8` for 16 words of 32 bits, of which those that are sure must not differ."""
    word, number = ir.IntType(64), ir.IntType(32)
    vector = ir.VectorType(number, WINDOW)
    undefined = ir.Constant(vector, ir.Undefined)
    firsts = ir.Constant(vector, [0] * WINDOW)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def in_each_lane(value: Any) -> Any:
            one = builder.insert_element(undefined, value, ir.Constant(number, 0))
            return builder.shuffle_vector(one, undefined, firsts)

        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), vector.as_pointer())
        differences = builder.xor(builder.load(address, align=4), in_each_lane(arguments[2]))
        counting = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module, ir.FunctionType(vector, [vector]), f"llvm.ctpop.v{WINDOW}i32"
        )
        near = builder.icmp_unsigned("<=", builder.call(counting, [differences]), in_each_lane(arguments[4]))
        wrong = builder.and_(differences, in_each_lane(arguments[3]))
        near = builder.and_(near, builder.icmp_unsigned("==", wrong, ir.Constant(vector, [0] * WINDOW)))
        return builder.zext(builder.bitcast(near, ir.IntType(WINDOW)), word)

    return types.uint64(values, types.uint64, types.uint32, types.uint32, types.uint32), generate


# (row, place, query, sure, radius) -> which of row[place : place + 16] are within the radius, a bit for each
_near_16: Any = intrinsic(_near_16_code)


def _near_48_code(
    _context: Any,
    low: Any,
    rest: Any,
    _place: Any,
    _low: Any,
    _rest: Any,
    _sure_low: Any,
    _sure_rest: Any,
    _radius: Any,
) -> Any:
    """As `_near_16_code`, of words of 32 bits and the words of 16 bits beside them."""
    word, number, short = ir.IntType(64), ir.IntType(32), ir.IntType(16)
    vector = ir.VectorType(number, WINDOW)
    firsts = ir.Constant(vector, [0] * WINDOW)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def in_each_lane(value: Any) -> Any:
            undefined = ir.Constant(ir.VectorType(value.type, WINDOW), ir.Undefined)
            one = builder.insert_element(undefined, value, ir.Constant(number, 0))
            return builder.shuffle_vector(one, undefined, firsts)

        def differing(own: Any, row: Any, query: Any, sure: Any) -> Any:
            """By how many bits each lane differs, and whether by none of those that are sure."""
            lanes = ir.VectorType(query.type, WINDOW)
            array = context.make_array(own)(context, builder, row)
            address = builder.bitcast(builder.gep(array.data, [arguments[2]]), lanes.as_pointer())
            differences = builder.xor(builder.load(address, align=query.type.width // 8), in_each_lane(query))
            counting = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
                builder.module,
                ir.FunctionType(lanes, [lanes]),
                f"llvm.ctpop.v{WINDOW}i{query.type.width}",
            )
            wrong = builder.and_(differences, in_each_lane(sure))
            right = builder.icmp_unsigned("==", wrong, ir.Constant(lanes, [0] * WINDOW))
            return builder.call(counting, [differences]), right

        low_bits, low_right = differing(signature.args[0], arguments[0], arguments[3], arguments[5])
        short_query, short_sure = (builder.trunc(arguments[place], short) for place in (4, 6))
        rest_bits, rest_right = differing(signature.args[1], arguments[1], short_query, short_sure)
        all_bits = builder.add(low_bits, builder.zext(rest_bits, vector))
        near = builder.icmp_unsigned("<=", all_bits, in_each_lane(arguments[7]))
        near = builder.and_(near, builder.and_(low_right, rest_right))
        return builder.zext(builder.bitcast(near, ir.IntType(WINDOW)), word)

    return types.uint64(low, rest, types.uint64, *[types.uint32] * 5), generate


# (low, rest, place, low and rest of query, low and rest of what is sure, radius) -> as `_near_16`, of both rows
# together
_near_48: Any = intrinsic(_near_48_code)


def _ask_for_code(_context: Any, values: Any, place: Any) -> Any:
    """As `kernels._prefetch`, into the second cache: it can wait for more lines at once."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        number, pointer = ir.IntType(32), ir.IntType(8).as_pointer()
        function = cgutils.get_or_insert_function(  # type: ignore[no-untyped-call]
            builder.module,
            ir.FunctionType(ir.VoidType(), [pointer, number, number, number]),
            "llvm.prefetch.p0",
        )
        address = builder.bitcast(builder.gep(array.data, [arguments[1]]), pointer)
        builder.call(function, [address, *(ir.Constant(number, value) for value in (0, 2, 1))])
        return context.get_dummy_value()

    return types.void(values, place), generate


_ask_for: Any = intrinsic(_ask_for_code)


@njit(nogil=True)
def _any_near(low: Keys, begin: Number, end: Number, query: np.uint64, sure: np.uint64, radius: int) -> bool:
    """Whether any of a key's hashes, or of those beside them, may be near."""
    near = np.uint64(0)
    for window in range(begin & -WINDOW, end, WINDOW):
        near |= _near_16(
            low, np.uint64(window), np.uint32(query & _LOW), np.uint32(sure & _LOW), np.uint32(radius)
        )
    return bool(near != 0)


@njit(nogil=True)
def _in_range(window: Number, begin: Number, end: Number) -> np.uint64:
    """Which places of a window are in a range, a bit for each."""
    bits = _ALL
    if window < begin:
        bits &= _ALL << np.uint64(begin - window)
    if end < window + WINDOW:
        bits &= (_ONE << np.uint64(end - window)) - _ONE
    return bits
