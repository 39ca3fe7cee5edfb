"""Reading the image table by its change stamp: what the in-memory indexes load and catch up with."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, text

from app.catalog.copying import Fields, copy_columns
from app.catalog.rows import AnyRow

# What rows from before `whash_db4` was defined have, and what they lack until a job has filled it in.
FIRST_HASHES = ("ahash", "phash", "dhash", "whash")
LATER_HASH = "whash_db4"
HASHES = (*FIRST_HASHES, LATER_HASH)

_VERIFIER = np.dtype((">u8", 4))
_COLOUR_CODE = np.dtype((">u8", 2))
FIELDS: Fields = {
    "created_seq": ("created_seq", ">i8"),
    **{name: (name, ">u8") for name in FIRST_HASHES},
    "verifier": ("verifier", _VERIFIER),
    # Rows are read in a form that has no place for NULL.
    "page": ("coalesce(page, false)", "?"),
    "filled": (f"{LATER_HASH} IS NOT NULL", "?"),
    LATER_HASH: (f"coalesce({LATER_HASH}, 0)", ">u8"),
    "colour_code": ("coalesce(colour_code, decode(repeat('00', 16), 'hex'))", _COLOUR_CODE),
}
SEARCHABLE = "deleted_at IS NULL AND status = 'fingerprinted'"

NEWEST = 2**63 - 1

_CHANGES = text(
    "SELECT m.generation, (SELECT max(change_seq) FROM image) AS newest,"
    " (SELECT coalesce(max(change_seq), 0) FROM template) AS newest_template, c.*"
    " FROM index_meta m LEFT JOIN LATERAL ("
    "  SELECT change_seq, created_seq, deleted_at IS NULL AND status = 'fingerprinted' AS searchable,"
    "   ahash, phash, dhash, whash, whash_db4, verifier, page, colour_code FROM image"
    "  WHERE change_seq > :last AND change_seq <= :up_to"
    "  ORDER BY change_seq LIMIT :limit"
    " ) c ON true ORDER BY c.change_seq"
)


_NEWEST = text(
    "SELECT generation, (SELECT coalesce(max(change_seq), 0) FROM image) AS newest FROM index_meta"
)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The searchable images of one snapshot of the table.

    `seqs` int64[n] are their `created_seq`; `hashes` maps each name to uint64[n]; `verifiers` is uint64[n, 4],
    `colour_codes` uint64[n, 2], `pages` bool[n]. Where `filled` bool[n] is false, LATER_HASH, colour code and page
    are not there yet, and 0. `last` is the newest change stamp that the snapshot saw (0 for an empty table).
    """

    generation: int
    last: int
    seqs: np.ndarray
    hashes: dict[str, np.ndarray]
    verifiers: np.ndarray
    pages: np.ndarray
    filled: np.ndarray
    colour_codes: np.ndarray


@dataclass(frozen=True, slots=True)
class Changes:
    """What happened after a stamp, read in one snapshot.

    `changed` int64[k] are the `created_seq` of all rows changed, `searchable` bool[k] tells which of them are
    to be found; the arrays of hashes are as in `Loaded` (0 for a tombstone).
    `last` is the newest stamp read; `complete` is false when more than the limit had changed. `newest` is the
    table's newest, `newest_template` that of the templates.
    """

    generation: int
    newest: int
    newest_template: int
    last: int
    complete: bool
    changed: np.ndarray
    searchable: np.ndarray
    hashes: dict[str, np.ndarray]
    verifiers: np.ndarray
    pages: np.ndarray
    filled: np.ndarray
    colour_codes: np.ndarray


def load(connection: Connection) -> Loaded:
    """Read all searchable images by binary COPY, in one snapshot. The connection must be in no transaction."""
    with snapshot(connection):
        generation, last = newest(connection)
        columns = copy_columns(connection, FIELDS, "image", SEARCHABLE)
    return Loaded(
        generation=generation,
        last=last,
        seqs=columns["created_seq"],
        hashes={name: columns[name] for name in HASHES},
        verifiers=columns["verifier"],
        pages=columns["page"],
        filled=columns["filled"],
        colour_codes=columns["colour_code"],
    )


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """One transaction that sees one state of the tables, for as long as it takes to read it."""
    with connection.begin():
        # Not by SQLAlchemy's `isolation_level`: see session.autocommit.
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        yield


def newest(connection: Connection) -> tuple[int, int]:
    """Return the generation asked for and the newest change stamp: the cheap way to see that nothing changed."""
    row = connection.execute(_NEWEST).one()
    return row.generation, row.newest


def changes_after(connection: Connection, last: int, *, up_to: int, limit: int) -> Changes:
    """Read at most `limit` changes after the stamp `last` and not after `up_to`, oldest first."""
    rows = connection.execute(_CHANGES, {"last": last, "up_to": up_to, "limit": limit}).all()
    first = rows[0]
    changed = [row for row in rows if row.change_seq is not None]
    return Changes(
        generation=first.generation,
        newest=first.newest or 0,
        newest_template=first.newest_template,
        last=changed[-1].change_seq if changed else last,
        complete=len(changed) < limit,
        **arrays(changed),
    )


def arrays(changed: Sequence[AnyRow]) -> dict[str, Any]:
    """Return the arrays of `Changes`, by name, of rows with the columns that `changes_after` reads."""
    return {
        "changed": np.array([row.created_seq for row in changed], np.int64),
        "searchable": np.array([row.searchable for row in changed], bool),
        "hashes": {
            name: np.array([getattr(row, name) or 0 for row in changed], np.int64).view(np.uint64)
            for name in HASHES
        },
        "verifiers": _words([row.verifier for row in changed], _VERIFIER),
        "pages": np.array([bool(row.page) for row in changed], bool),
        "filled": np.array([row.whash_db4 is not None for row in changed], bool),
        "colour_codes": _words([row.colour_code for row in changed], _COLOUR_CODE),
    }


def _words(stored: Sequence[bytes | memoryview | None], kind: np.dtype[Any]) -> np.ndarray:
    """Return a column's values as rows of uint64; zeros for NULL."""
    data = b"".join(bytes(kind.itemsize) if value is None else value for value in stored)
    return np.frombuffer(data, kind).astype(np.uint64)


def changed_after(connection: Connection, last: int) -> np.ndarray:
    """Return the `created_seq` of all images changed after the stamp `last`, int64[k]."""
    statement = text("SELECT created_seq FROM image WHERE change_seq > :last")
    return np.array(connection.execute(statement, {"last": last}).scalars().all(), np.int64)
