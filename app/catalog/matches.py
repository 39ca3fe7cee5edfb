"""The match table: one row per unordered pair of images, read from both sides."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from app.catalog.rows import AnyRow
from app.matching.kinds import KINDS

# Of matches m: those that were seen once, and can't be looked at again, or not yet.
_STANDS = (
    "m.evidence <> '{}' AND (m.later_id = ANY(:blind_ids) OR (m.earlier_id, m.later_id) IN ("
    " SELECT u.earlier_id, u.later_id FROM unnest(CAST(:unseen_earlier AS bigint[]),"
    "  CAST(:unseen_later AS bigint[])) AS u (earlier_id, later_id))"
    " OR EXISTS (SELECT FROM image i"
    "  WHERE i.id = m.earlier_id AND i.status = 'fingerprinted' AND i.keypoint_count IS NULL))"
)
# What bytes and pixels tell needs no look; that hashes are near may be what a look has contradicted.
_SURE_RANKS = KINDS.index("near_duplicate")

# One round trip in one transaction: the images are marked, matches that no longer hold go, those found are
# stored or updated in place. The bulk form keeps the statement the same for one match and for ten thousand.
# Both sides are locked against deletion, and those deleted meanwhile left out: the later ones by the UPDATE, the
# others by KEY SHARE (a row that the statement itself updates can't be locked once more). What a crash of the
# database loses of it, the sweep finds again: so the disk is not waited for.
_STORE_SCREENING = text(
    "SET LOCAL synchronous_commit = off;"  # noqa: S608 - constants
    " WITH found AS ("
    "  SELECT * FROM jsonb_to_recordset(:rows) AS n (match_id uuid, earlier_id bigint, later_id bigint,"
    "   kind text, rank smallint, nearest integer, distances jsonb, transform text, evidence jsonb,"
    "   rule_version integer)"
    " ), later AS ("
    "  UPDATE image SET screened_at = clock_timestamp()"
    "  WHERE id = ANY(:later_ids) AND deleted_at IS NULL AND change_seq <= :up_to RETURNING id"
    " ), forgotten AS ("
    "  DELETE FROM match m USING later l WHERE m.later_id = l.id AND NOT EXISTS ("
    "   SELECT FROM found n WHERE n.earlier_id = m.earlier_id AND n.later_id = m.later_id)"
    f"   AND NOT ({_STANDS})"
    " ), others AS ("
    "  SELECT id FROM image WHERE id = ANY(:other_ids) AND deleted_at IS NULL ORDER BY id FOR KEY SHARE"
    " ), earlier AS ("
    "  SELECT id FROM others UNION ALL SELECT id FROM later"
    " ), stored AS (INSERT INTO match AS m"
    "  (match_id, earlier_id, later_id, kind, rank, nearest, distances, transform, evidence, rule_version)"
    " SELECT n.match_id, n.earlier_id, n.later_id, n.kind, n.rank, n.nearest, n.distances, n.transform,"
    "  n.evidence, n.rule_version"
    " FROM found n JOIN earlier e ON e.id = n.earlier_id JOIN later l ON l.id = n.later_id"
    " ORDER BY n.earlier_id, n.later_id"
    " ON CONFLICT (earlier_id, later_id) DO UPDATE SET kind = excluded.kind, rank = excluded.rank,"
    "  nearest = excluded.nearest, distances = excluded.distances, transform = excluded.transform,"
    "  evidence = excluded.evidence, rule_version = excluded.rule_version"
    f" WHERE excluded.rank < least(m.rank, {_SURE_RANKS}) OR NOT ({_STANDS})"
    ") SELECT id FROM later"
).bindparams(bindparam("rows", type_=JSONB))

_STORE_NOTHING_FOUND = text(
    "SET LOCAL synchronous_commit = off;"  # noqa: S608 - constants
    " WITH later AS ("
    "  UPDATE image SET screened_at = clock_timestamp()"
    "  WHERE id = ANY(:later_ids) AND deleted_at IS NULL AND change_seq <= :up_to RETURNING id"
    " ), forgotten AS ("
    f"  DELETE FROM match m USING later l WHERE m.later_id = l.id AND NOT ({_STANDS})"
    " ) SELECT id FROM later"
)

_OF_IMAGE = text(
    "WITH own AS ("
    " SELECT m.*, m.earlier_id AS other_id, true AS other_is_earlier FROM match m WHERE m.later_id = :id"
    " UNION ALL"
    " SELECT m.*, m.later_id AS other_id, false AS other_is_earlier FROM match m WHERE m.earlier_id = :id"
    "), live AS ("
    " SELECT o.match_id, o.kind, o.rank, o.nearest, o.distances, o.transform, o.evidence, o.other_is_earlier,"
    "  i.image_id, i.claim_id, i.source, i.uploaded_at, i.created_seq"
    " FROM own o JOIN image i ON i.id = o.other_id WHERE i.deleted_at IS NULL AND i.created_seq <= :as_of"
    "), totals AS ("
    " SELECT count(*) AS total, min(rank) FILTER (WHERE claim_id <> :claim_id) AS verdict_rank,"
    "  count(DISTINCT claim_id) FILTER (WHERE claim_id <> :claim_id) AS claims FROM live"
    ") SELECT t.total, t.verdict_rank, t.claims, page.* FROM totals t LEFT JOIN LATERAL ("
    " SELECT * FROM live WHERE (rank, nearest, created_seq) > (:rank, :nearest, :seq)"
    " ORDER BY rank, nearest, created_seq LIMIT :limit"
    ") page ON true ORDER BY page.rank, page.nearest, page.created_seq"
)

_VERDICT_RANKS = text(
    "SELECT i.image_id, i.claim_id, i.screened_at, min(m.rank) FILTER (WHERE o.id IS NOT NULL) AS verdict_rank"
    " FROM image i LEFT JOIN LATERAL ("
    "  SELECT rank, later_id AS other_id FROM match WHERE earlier_id = i.id"
    "  UNION ALL SELECT rank, earlier_id FROM match WHERE later_id = i.id"
    " ) m ON true"
    " LEFT JOIN image o ON o.id = m.other_id AND o.deleted_at IS NULL AND o.claim_id <> i.claim_id"
    " WHERE i.deleted_at IS NULL AND i.image_id = ANY(CAST(:image_ids AS uuid[]))"
    " GROUP BY i.image_id, i.claim_id, i.screened_at"
)

_BY_ID = text(
    "SELECT m.kind, m.transform, m.evidence, later.image_id AS later_image_id, later.claim_id AS later_claim_id,"
    " earlier.image_id AS earlier_image_id, earlier.claim_id AS earlier_claim_id"
    " FROM match m JOIN image later ON later.id = m.later_id JOIN image earlier ON earlier.id = m.earlier_id"
    " WHERE m.match_id = :match_id AND later.deleted_at IS NULL AND earlier.deleted_at IS NULL"
)

NEWEST = 2**63 - 1


@dataclass(frozen=True, slots=True)
class NewMatch:
    """One pair found: ids are the table's own, `transform` turns the later picture into the earlier one."""

    earlier_id: int
    later_id: int
    kind: str
    rank: int
    nearest: int
    distances: dict[str, int]
    transform: str
    evidence: dict[str, Any]
    rule_version: int


@dataclass(frozen=True, slots=True)
class MatchPage:
    """Matches of one image, best first: `rows` of this page; of all the `total`, the best `verdict_rank` in other
    claims, and how many other claims these are."""

    rows: Sequence[Any]
    total: int
    verdict_rank: int | None
    claims: int


EMPTY_PAGE = MatchPage(rows=(), total=0, verdict_rank=None, claims=0)


def store_screening(
    connection: Connection,
    image_row_ids: Sequence[int],
    found: Sequence[NewMatch],
    *,
    up_to: int,
    blind_ids: Sequence[int] = (),
    unseen: Sequence[tuple[int, int]] = (),
) -> set[int]:
    """Make `found` all the matches of these images with earlier ones, mark them as screened, and return which are.

    `up_to` is the newest change stamp that the images were read at: one that changed later, or is deleted, is left
    as it is. Matches that stand already are updated in place and keep their public id. `connection` is in
    autocommit mode: this is one transaction by itself, and draws no stamp.

    What was seen once stays where it can't be looked at again: matches with evidence of the images `blind_ids`, of
    the pairs `unseen`, earlier and later, and with images whose keypoints are yet to be found. Only the same bytes
    or pixels take their place.
    """
    values = {
        "later_ids": sorted(image_row_ids),
        "up_to": up_to,
        "blind_ids": list(blind_ids),
        "unseen_earlier": [earlier for earlier, _ in unseen],
        "unseen_later": [later for _, later in unseen],
    }
    if not found:
        return set(connection.execute(_STORE_NOTHING_FOUND, values).scalars())
    values |= {
        "rows": [{"match_id": str(uuid4())} | asdict(match) for match in found],
        "other_ids": sorted({match.earlier_id for match in found}.difference(image_row_ids)),
    }
    return set(connection.execute(_STORE_SCREENING, values).scalars())


def match_by_id(connection: Connection, match_id: UUID) -> AnyRow | None:
    """A match of two live images: kind, transform, evidence, and id and claim of the later and the earlier."""
    return connection.execute(_BY_ID, {"match_id": match_id}).one_or_none()


def forget_images(connection: Connection, ids: Sequence[int]) -> None:
    """Remove every match in which one of these images takes part."""
    connection.execute(
        text("DELETE FROM match WHERE earlier_id = ANY(:ids) OR later_id = ANY(:ids)"), {"ids": list(ids)}
    )


def verdict_ranks(connection: Connection, image_ids: Sequence[UUID]) -> Sequence[AnyRow]:
    """Of live images their claims, the best rank of their matches in others, None without any, and when they were
    screened."""
    return connection.execute(_VERDICT_RANKS, {"image_ids": [str(each) for each in image_ids]}).all()


def matches_of(
    connection: Connection,
    *,
    image_row_id: int,
    claim_id: str,
    limit: int,
    after: tuple[int, int, int] = (-1, -1, -1),
    as_of: int = NEWEST,
) -> MatchPage:
    """Read the matches of one image with live images uploaded up to the stamp `as_of`, best first.

    `after` is (rank, nearest, created_seq) of the last row of the page before.
    """
    rows = connection.execute(
        _OF_IMAGE,
        {
            "id": image_row_id,
            "claim_id": claim_id,
            "as_of": as_of,
            "rank": after[0],
            "nearest": after[1],
            "seq": after[2],
            "limit": limit,
        },
    ).all()
    return MatchPage(
        rows=[row for row in rows if row.match_id is not None],
        total=rows[0].total,
        verdict_rank=rows[0].verdict_rank,
        claims=rows[0].claims,
    )
