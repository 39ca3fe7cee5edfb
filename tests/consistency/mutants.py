"""The protocol, and four wrong variants of it that the checker must catch (docs/decisions/0002)."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from app.catalog import session, stamps
from app.catalog.templates import Templates
from app.collection import Collection, TableIndex
from app.ingest import Intake, Outcome, Upload

# Between the drawing of a stamp and the commit: a window that is there anyway, made easier to hit, for the
# protocol as for its mutants. 8 ms on average, now and then 40. The name puts it after image_stamp:
# PostgreSQL fires triggers in the order of their names.
WIDEN_THE_WINDOW = """
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.04 * random() ^ 4);
    RETURN NEW;
END $$;
CREATE TRIGGER image_stamp_then_pause BEFORE INSERT ON image FOR EACH ROW EXECUTE FUNCTION pause();
"""

WITHOUT_THE_LOCK = """
CREATE OR REPLACE FUNCTION take_stamp_lock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RETURN NULL;
END $$;
"""

WITH_TRANSACTION_IDS = """
ALTER TABLE image ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX image_xid ON image (xid);
"""


class NeverCatchingUp(Collection):
    """Answers from the index as the last reindex left it."""

    def caught_up(self, connection: Connection, *, committed: int = 0) -> TableIndex:
        return super().caught_up(connection) if self.current is None else self.current


class SearchThenCommit(Intake):
    """Brings the index up to date before the images are stored, not after."""

    def take(
        self,
        claim_id: str,
        uploads: Sequence[Upload],
        *,
        client_id: int | None,
        labels: Mapping[str, Any],
    ) -> Outcome:
        with session.autocommit(self.engine) as connection:
            # The search itself is left where it is: its answer is that of this moment.
            Collection.caught_up(self.screening.collection, connection)
        return super().take(claim_id, uploads, client_id=client_id, labels=labels)


class BelowXminIndex(TableIndex):
    """Reads as an outbox does: rows of transactions below the oldest that runs; `last` is that transaction."""

    def _advance(self, connection: Connection, up_to: int) -> int:
        rows = connection.execute(
            text(
                "WITH now AS (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)"
                " SELECT now.xmin::text::bigint AS xmin, m.generation, c.*"
                " FROM now CROSS JOIN index_meta m LEFT JOIN LATERAL ("
                "  SELECT created_seq, deleted_at IS NULL AND status = 'fingerprinted' AS searchable,"
                "   ahash, phash, dhash, whash, whash_db4, verifier, page, colour_code FROM image"
                "  WHERE xid >= CAST(CAST(:last AS text) AS xid8) AND xid < now.xmin"
                " ) c ON true"
            ),
            {"last": self.last},
        ).all()
        read = [row for row in rows if row.created_seq is not None]
        self.apply(
            stamps.Changes(
                generation=rows[0].generation,
                newest=rows[0].xmin,
                newest_template=0,
                last=rows[0].xmin,
                complete=True,
                **stamps.arrays(read),
            )
        )
        self.last = rows[0].xmin
        generation: int = rows[0].generation
        return generation


class BelowXmin(Collection):
    """Catches up with BelowXminIndex."""

    def _load(self) -> TableIndex:
        with self._engine.connect() as connection:
            identity = session.identity(connection)
            xmin = connection.execute(text("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint"))
            last = xmin.scalar_one()
            connection.rollback()
            return BelowXminIndex(
                dataclasses.replace(stamps.load(connection), last=last),
                Templates.of(0, []),
                identity,
                self._hamming,
            )


@dataclass(frozen=True, slots=True)
class Variant:
    """A way of keeping, or not keeping, the promise: changes to the database and to the program."""

    sql: str = ""
    collection: type[Collection] = Collection
    intake: type[Intake] = Intake


PROTOCOL = "the protocol"
VARIANTS = {
    PROTOCOL: Variant(),
    # Without the lock stamps are committed in any order; catch-up goes on reading those after the newest.
    "read rows with id > last": Variant(sql=WITHOUT_THE_LOCK),
    "search without catching up first": Variant(collection=NeverCatchingUp),
    "search, then commit": Variant(collection=NeverCatchingUp, intake=SearchThenCommit),
    "outbox style, xid < xmin": Variant(sql=WITHOUT_THE_LOCK + WITH_TRANSACTION_IDS, collection=BelowXmin),
}
MUTANTS = [name for name in VARIANTS if name != PROTOCOL]
