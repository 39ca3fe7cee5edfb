"""What an audit reads of images and of their matches, all as of one moment."""

import datetime as dt
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text

from app.catalog import session
from app.catalog.rows import AnyRow

_IMAGES = text(
    "SELECT id, image_id, claim_id, sha256, file_name, source, uploaded_at, taken_at, day, labels, width, height"
    " FROM image WHERE id = ANY(:ids)"
)
# Without the places that agree, which are only for drawing and are most of the evidence.
_MATCHES = text(
    "SELECT m.earlier_id, m.later_id, m.kind, m.transform, m.nearest, m.distances,"
    " CASE WHEN m.evidence ? 'state' THEN m.evidence || '{\"points\": []}' END AS evidence"
    " FROM unnest(CAST(:earlier_ids AS bigint[]), CAST(:later_ids AS bigint[])) AS wanted (earlier_id, later_id)"
    " JOIN match m USING (earlier_id, later_id)"
)


@contextmanager
def one_moment(engine: Engine) -> Iterator[tuple[Connection, dt.datetime]]:
    """A connection that sees the tables as they were at a moment, which is told, for as long as reading takes."""
    with session.reading(engine) as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # Between two statements a large collection's families are worked out.
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        # The first to read anything: what was committed before it is seen, and nothing later.
        moment: dt.datetime = connection.execute(text("SELECT statement_timestamp()")).scalar_one()
        yield connection, moment


def images_by_row_id(connection: Connection, ids: Sequence[int]) -> dict[int, AnyRow]:
    """What is told of images, by their row ids."""
    return {row.id: row for row in connection.execute(_IMAGES, {"ids": list(ids)})}


def matches_by_later(
    connection: Connection, earlier_ids: Sequence[int], later_ids: Sequence[int]
) -> dict[int, AnyRow]:
    """The matches of pairs of row ids, by that of the later image, of which each is in one pair."""
    pairs = {"earlier_ids": list(earlier_ids), "later_ids": list(later_ids)}
    return {row.later_id: row for row in connection.execute(_MATCHES, pairs)}
