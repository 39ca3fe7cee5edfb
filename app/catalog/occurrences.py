"""Where and when a pattern occurs: the images of clusters, or of templates, counted by label and by week."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, text

from app.catalog.filters import Filter
from app.catalog.rows import AnyRow

# Values of one label that are counted by name.
MOST_VALUES = 20
RECENT_DAYS = 28
NEWEST = 2**63 - 1
_OF_MEMBER = "m.image_id, m.distance, NULL AS transform, NULL::jsonb AS region"
_OF_MATCH = "m.image_id, m.distance, m.transform, m.region"


@dataclass(frozen=True, slots=True)
class Owners:
    """What images are grouped by: SQL for owner, image_id, distance, transform and region; with values to bind."""

    members: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def clusters_of(cls, run_row_id: int) -> "Owners":
        """All clusters of a run; an owner is a row id."""
        return cls(
            f"SELECT m.cluster_id AS owner, {_OF_MEMBER} FROM cluster_member m"
            " JOIN cluster c ON c.id = m.cluster_id WHERE c.run_id = :run",
            {"run": run_row_id},
        )

    @classmethod
    def cluster(cls, row_id: int) -> "Owners":
        """One cluster."""
        return cls(
            f"SELECT m.cluster_id AS owner, {_OF_MEMBER} FROM cluster_member m WHERE m.cluster_id = :owner",
            {"owner": row_id},
        )

    @classmethod
    def templates(cls) -> "Owners":
        """All templates."""
        return cls(f"SELECT m.template_id AS owner, {_OF_MATCH} FROM template_match m")

    @classmethod
    def template(cls, row_id: int) -> "Owners":
        """One template."""
        return cls(
            f"SELECT m.template_id AS owner, {_OF_MATCH} FROM template_match m WHERE m.template_id = :owner",
            {"owner": row_id},
        )


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many images have that value of a label."""

    value: Any
    images: int


def summaries(connection: Connection, owners: Owners, wanted: Filter, newest: dt.date) -> Sequence[AnyRow]:
    """For each owner that has any: images, claims, first_day, last_day, mean_distance, recent and before.

    `recent` counts images of the four weeks up to the day `newest`, `before` those of the four weeks before these.
    """
    found, values = _found(owners, wanted)
    return connection.execute(
        text(
            f"WITH found AS ({found})"
            " SELECT owner, count(*) AS images, count(DISTINCT claim_id) AS claims, min(f.day) AS first_day,"
            " max(f.day) AS last_day, avg(distance)::double precision AS mean_distance,"
            " count(*) FILTER (WHERE f.day > :newest - :recent AND f.day <= :newest) AS recent,"
            " count(*) FILTER (WHERE f.day <= :newest - :recent AND f.day > :newest - 2 * :recent) AS before"
            " FROM found f GROUP BY owner ORDER BY owner"
        ),
        values | {"recent": RECENT_DAYS, "newest": newest},
    ).all()


def label_counts(
    connection: Connection, owners: Owners, wanted: Filter, *, only: Sequence[int] | None = None
) -> dict[int, dict[str, list[LabelCount]]]:
    """For each owner, or each of some, how many images have which value of which label, most frequent first."""
    found, values = _found(owners, wanted)
    rows = connection.execute(
        text(
            f"WITH found AS ({found}), counted AS ("
            " SELECT owner, l.key AS name, l.value, count(*) AS images,"
            "  row_number() OVER (PARTITION BY owner, l.key ORDER BY count(*) DESC, l.value::text) AS place"
            " FROM found, jsonb_each(labels - 'claimed_at') AS l"
            " WHERE CAST(:only AS bigint[]) IS NULL OR owner = ANY(CAST(:only AS bigint[]))"
            " GROUP BY owner, l.key, l.value)"
            " SELECT * FROM counted WHERE place <= :most ORDER BY owner, name, place"
        ),
        values | {"only": only if only is None else list(only), "most": MOST_VALUES},
    )
    counts: dict[int, dict[str, list[LabelCount]]] = {}
    for row in rows:
        counts.setdefault(row.owner, {}).setdefault(row.name, []).append(LabelCount(row.value, row.images))
    return counts


def weekly(
    connection: Connection, owners: Owners, wanted: Filter, first: dt.date, last: dt.date
) -> dict[int, dict[dt.date, int]]:
    """For each owner, how many of its images are of which week, by Monday, from one Monday to another."""
    found, values = _found(owners, wanted)
    rows = connection.execute(
        text(
            f"WITH found AS ({found}) SELECT owner, date_trunc('week', day)::date AS week, count(*) AS images"
            " FROM found WHERE date_trunc('week', day)::date BETWEEN :first AND :last"
            " GROUP BY owner, week ORDER BY owner, week"
        ),
        values | {"first": first, "last": last},
    )
    counts: dict[int, dict[dt.date, int]] = {}
    for row in rows:
        counts.setdefault(row.owner, {})[row.week] = row.images
    return counts


def count(connection: Connection, owners: Owners, wanted: Filter, *, as_of: int = NEWEST) -> int:
    """Number of images uploaded up to the stamp `as_of`."""
    found, values = _found(owners, wanted)
    statement = text(f"WITH found AS ({found}) SELECT count(*) FROM found WHERE created_seq <= :as_of")
    number: int = connection.execute(statement, values | {"as_of": as_of}).scalar_one()
    return number


def nearest_members(
    connection: Connection,
    owners: Owners,
    wanted: Filter,
    *,
    limit: int,
    after: tuple[int, int] = (-1, -1),
    as_of: int = NEWEST,
) -> Sequence[AnyRow]:
    """Images of one owner uploaded up to the stamp `as_of`, nearest first, ties by upload order.

    `after` is (distance, created_seq) of the last row of the page before.
    """
    found, values = _found(owners, wanted)
    return connection.execute(
        text(
            f"WITH found AS ({found}) SELECT * FROM found WHERE created_seq <= :as_of"
            " AND (distance, created_seq) > (:distance, :seq) ORDER BY distance, created_seq LIMIT :limit"
        ),
        values | {"as_of": as_of, "distance": after[0], "seq": after[1], "limit": limit},
    ).all()


def _found(owners: Owners, wanted: Filter) -> tuple[str, dict[str, Any]]:
    condition, values = wanted.condition("i")
    found = (
        "SELECT m.owner, m.distance, m.transform, m.region, i.id, i.image_id, i.created_seq, i.claim_id,"
        f" i.uploaded_at, i.labels, i.day FROM ({owners.members}) m"
        f" JOIN image i ON i.id = m.image_id WHERE i.deleted_at IS NULL AND {condition}"
    )
    return found, dict(owners.values) | values
