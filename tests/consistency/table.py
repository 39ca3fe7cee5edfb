"""Compares the table with the logs at the end of a run, once the sweep has screened what nobody answered."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, select

from app.catalog.models import image, match
from app.catalog.rows import AnyRow
from app.matching.kinds import Rule
from tests.consistency.history import Answered, Deleted, DeleteRequested, Drawn, Erased, Event, of_kind
from tests.consistency.oracle import Oracle
from tests.consistency.report import Fault, FaultKind


def check_table(connection: Connection, events: Sequence[Event], rule: Rule) -> list[Fault]:
    """Look for acknowledged changes and bytes that were lost, and for stored matches that are not the true ones.

    Every acknowledged image is there unless its deletion was requested, and gone if that was acknowledged.
    """
    rows = connection.execute(
        select(image.c.id, image.c.image_id, image.c.created_seq, image.c.sha256, image.c.deleted_at)
    ).all()
    live = {str(row.image_id): row for row in rows if row.deleted_at is None}
    stored = {(row.earlier_id, row.later_id) for row in connection.execute(select(match))}
    due = set(_matches(list(live.values()), Oracle(of_kind(events, Drawn), rule)))
    requested = {item.image_id for item in of_kind(events, DeleteRequested)}
    return [
        *(
            Fault(FaultKind.LOST, item.image_id)
            for item in of_kind(events, Answered)
            if item.image_id not in requested
            and (item.image_id not in live or live[item.image_id].created_seq != item.created_seq)
        ),
        *(
            Fault(FaultKind.LOST, f"the deletion of {item.image_id}")
            for item in of_kind(events, Deleted)
            if item.image_id in live
        ),
        *(
            Fault(FaultKind.BYTES_LOST, item.image_id)
            for item in of_kind(events, Erased)
            if item.image_id in live
        ),
        *(Fault(FaultKind.UNSETTLED, f"of (earlier, later) = {pair}") for pair in due ^ stored),
    ]


def _matches(live: Sequence[AnyRow], oracle: Oracle) -> Iterator[tuple[int, int]]:
    """Ids of every two live rows that match, the earlier one first."""
    rows_with = defaultdict(list)
    for row in live:
        rows_with[row.sha256.hex()].append(row)
    for later in live:
        for sha256 in oracle.matching(later.sha256.hex()):
            for earlier in rows_with[sha256]:
                if earlier.created_seq < later.created_seq:
                    yield earlier.id, later.id
