"""Reading many rows at once by binary COPY, into an array for each column."""

from collections.abc import Mapping
from io import BufferedWriter, RawIOBase
from typing import Any

import numpy as np
import psycopg2
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from app.index.growth import grown

Fields = Mapping[str, tuple[str, Any]]
"""By name: a column or expression and its big-endian dtype. None may be NULL, each has the size of its dtype."""

_HEADER_BYTES = 19
_TRAILER = b"\xff\xff"
# Rows in the processor's nearest caches, while they are taken apart.
_BYTES_AT_ONCE = 1 << 18


def copy_statement(fields: Fields, table: str, condition: str) -> str:
    """The COPY of the fields of all rows for which the condition holds.

    All three are the program's own: constants, and whole numbers in the condition, which may end with an order.
    """
    columns = ", ".join(column for column, _ in fields.values())
    query = f"SELECT {columns} FROM {table} WHERE {condition}"  # noqa: S608 - constants
    return f"COPY ({query}) TO STDOUT (FORMAT binary)"


def copy_out(connection: Connection, statement: str, file: Any) -> None:
    """Run a COPY that writes to a file; raises what SQLAlchemy does, as `session.translated` knows it."""
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(statement, file)
    except psycopg2.Error as error:
        raise DBAPIError.instance(statement, None, error, psycopg2.Error) from error
    finally:
        cursor.close()


def copy_columns(
    connection: Connection, fields: Fields, table: str, condition: str, *, room: int | None = None
) -> dict[str, np.ndarray]:
    """Read what `copy_statement` names: for each field an array of n rows, in this machine's byte order.

    `room` tells for how many rows there is room at first; without it the planner is asked. ValueError where the
    sizes are not those of the dtypes.
    """
    columns = _Columns(fields, room=_likely_rows(connection, table) if room is None else room)
    # It gathers the rows, which come one at a time, without a call of Python's for each.
    buffer = BufferedWriter(columns, _BYTES_AT_ONCE)
    copy_out(connection, copy_statement(fields, table, condition), buffer)
    buffer.flush()
    return columns.arrays()


def _likely_rows(connection: Connection, table: str) -> int:
    """How many rows the table has by the planner's reckoning, and some more."""
    # By the table's size today, so good without statistics too; without the condition, whose share is a guess.
    plan = connection.execute(text(f"EXPLAIN (FORMAT JSON) SELECT FROM {table}")).scalar_one()
    rows: int = plan[0]["Plan"]["Plan Rows"]
    return rows + rows // 16


class _Columns(RawIOBase):
    """Takes the bytes of a COPY apart while they come, with room for some number of rows at first."""

    def __init__(self, fields: Fields, *, room: int) -> None:
        # The wire form of a row: a field count, then length and bytes per field.
        self._wire = np.dtype(
            [("fields", ">i2")]
            + [part for name, (_, kind) in fields.items() for part in ((f"{name}_size", ">i4"), (name, kind))]
        )
        row = np.zeros((), self._wire)
        # Room that is not needed is never touched, so it takes no memory; growing touches all of it anew.
        self._columns = {
            name: np.empty((room, *row[name].shape), row[name].dtype.newbyteorder("=")) for name in fields
        }
        self._count = 0
        self._unread = b""
        self._header_bytes = _HEADER_BYTES

    def writable(self) -> bool:
        """As BufferedWriter asks."""
        return True

    def write(self, data: Any) -> int:
        """Append the rows that are complete."""
        unread = self._unread + bytes(data)
        count = max(len(unread) - self._header_bytes, 0) // self._wire.itemsize
        if count:
            rows = np.frombuffer(unread, self._wire, count, self._header_bytes)
            end = self._count + count
            for name, column in self._columns.items():
                self._columns[name] = longer = grown(column, end)
                longer[self._count : end] = rows[name]
            self._count = end
            unread = unread[self._header_bytes + rows.nbytes :]
            self._header_bytes = 0
        self._unread = unread
        return len(data)

    def arrays(self) -> dict[str, np.ndarray]:
        """All rows, when the last has come; ValueError if they were of other sizes."""
        if self._unread[self._header_bytes :] != _TRAILER:
            raise ValueError("the rows of a COPY do not have the sizes of their dtypes")
        return {name: column[: self._count] for name, column in self._columns.items()}
