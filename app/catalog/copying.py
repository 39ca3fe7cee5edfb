"""Reading many rows at once by binary COPY, into one structured array."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sqlalchemy import Connection

_HEADER_BYTES = 19
_TRAILER_BYTES = 2


def copy_rows(connection: Connection, fields: Mapping[str, tuple[str, Any]], source: str) -> np.ndarray:
    """Rows of `SELECT <columns> FROM <source>` as a structured array with a field for each name.

    `fields` maps a name to its column and its big-endian dtype. No column may be NULL, and each has the size of its
    dtype, so that every row has the same: that is not checked. All three are constants of the program.
    """
    # The wire form of a row: a field count, then length and bytes per field.
    wire = np.dtype(
        [("fields", ">i2")]
        + [part for name, (_, kind) in fields.items() for part in ((f"{name}_size", ">i4"), (name, kind))]
    )
    sink = _Sink()
    cursor = connection.connection.cursor()
    columns = ", ".join(column for column, _ in fields.values())
    cursor.copy_expert(
        f"COPY (SELECT {columns} FROM {source}) TO STDOUT (FORMAT binary)",  # noqa: S608 - constants
        sink,
        size=1 << 20,
    )
    cursor.close()
    return np.frombuffer(memoryview(sink.data)[_HEADER_BYTES : len(sink.data) - _TRAILER_BYTES], wire)


class _Sink:
    """Collects the bytes of a COPY."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, chunk: Any) -> int:
        self.data += chunk
        return len(chunk)
