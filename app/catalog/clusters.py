"""The tables of clusters: for each question that was asked the newest run, with what it carries on."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, delete, insert, select, text

from app.catalog.filters import Filter
from app.catalog.models import cluster, cluster_member, cluster_run
from app.catalog.rows import AnyRow

_MEMBERS_AT_ONCE = 20_000
_ADD_MEMBERS = text(
    "INSERT INTO cluster_member (cluster_id, image_id, distance) SELECT * FROM unnest("
    " CAST(:clusters AS bigint[]), CAST(:images AS bigint[]), CAST(:distances AS integer[]))"
)


@dataclass(frozen=True, slots=True)
class Question:
    """What a run of clustering is asked; `linkage` is `medoid`, or `single` for copies."""

    fingerprint: str
    linkage: str
    max_distance: int
    min_size: int
    wanted: Filter


@dataclass(frozen=True, slots=True, eq=False)
class Members:
    """Images by row id, int64[n], and for each the place of its cluster among `clusters`, public ids."""

    clusters: Sequence[UUID]
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class NewCluster:
    """A cluster to store: its public id, the row id of its medoid, and what of the run before it came from."""

    cluster_id: UUID
    medoid_id: int
    came_from: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, eq=False)
class NewRun:
    """A run to store. `images`, `numbers` (of `clusters`) and `distances` int64[n] are of its members."""

    question: Question
    as_of_seq: int
    outside: int
    left_out: dict[str, int]
    clusters: Sequence[NewCluster]
    images: NDArray[np.int64]
    numbers: NDArray[np.int64]
    distances: NDArray[np.int64]
    ended: list[dict[str, Any]]


def members_before(connection: Connection, question: Question) -> Members:
    """The members of the newest run of that question, whatever its least size was; of none where there is none."""
    rows = connection.execute(
        select(cluster.c.cluster_id, cluster_member.c.image_id)
        .join_from(cluster_run, cluster, cluster.c.run_id == cluster_run.c.id)
        .outerjoin(cluster_member, cluster_member.c.cluster_id == cluster.c.id)
        .where(*_asks(question))
        .order_by(cluster.c.id, cluster_member.c.image_id)
    ).all()
    clusters = list(dict.fromkeys(row.cluster_id for row in rows))
    place = {cluster_id: number for number, cluster_id in enumerate(clusters)}
    # A cluster whose images were all deleted has none, and ends.
    members = [(row.image_id, place[row.cluster_id]) for row in rows if row.image_id is not None]
    images, numbers = np.array(members, np.int64).reshape(-1, 2).T
    return Members(clusters, images, numbers)


def replace_run(connection: Connection, run: NewRun, progress: Callable[[int], None]) -> UUID:
    """Store a run in place of the one before and return its public id.

    `progress` is told how many members are stored.
    """
    question, run_id = run.question, uuid4()
    connection.execute(text("SET LOCAL statement_timeout = 0"))
    connection.execute(delete(cluster_run).where(*_asks(question)))
    progress(0)
    run_row_id = connection.execute(
        insert(cluster_run)
        .values(
            run_id=run_id,
            fingerprint=question.fingerprint,
            linkage=question.linkage,
            max_distance=question.max_distance,
            min_size=question.min_size,
            filter=question.wanted.json,
            as_of_seq=run.as_of_seq,
            outside=run.outside,
            left_out=run.left_out,
            ended=run.ended,
        )
        .returning(cluster_run.c.id)
    ).scalar_one()
    if run.clusters:
        added = connection.execute(
            insert(cluster).returning(cluster.c.id, sort_by_parameter_order=True),
            [asdict(each) | {"run_id": run_row_id} for each in run.clusters],
        )
        row_ids = np.array(added.scalars().all(), np.int64)
        for begin in range(0, len(run.images), _MEMBERS_AT_ONCE):
            some = slice(begin, begin + _MEMBERS_AT_ONCE)
            connection.execute(
                _ADD_MEMBERS,
                {
                    "clusters": row_ids[run.numbers[some]].tolist(),
                    "images": run.images[some].tolist(),
                    "distances": run.distances[some].tolist(),
                },
            )
            progress(min(begin + _MEMBERS_AT_ONCE, len(run.images)))
    return run_id


def find_run(connection: Connection, run_id: UUID | None) -> AnyRow | None:
    """The run of that public id, or the newest of all."""
    statement = select(cluster_run).order_by(cluster_run.c.id.desc()).limit(1)
    if run_id is not None:
        statement = statement.where(cluster_run.c.run_id == run_id)
    return connection.execute(statement).one_or_none()


def all_runs(connection: Connection) -> Sequence[AnyRow]:
    """All runs, newest first."""
    return connection.execute(select(cluster_run).order_by(cluster_run.c.id.desc())).all()


def find_cluster(connection: Connection, cluster_id: UUID) -> AnyRow | None:
    """The cluster of that public id."""
    return connection.execute(select(cluster).where(cluster.c.cluster_id == cluster_id)).one_or_none()


def run_of(connection: Connection, row: AnyRow) -> AnyRow:
    """The run that a cluster is of."""
    return connection.execute(select(cluster_run).where(cluster_run.c.id == row.run_id)).one()


def by_row_id(connection: Connection, row_ids: Sequence[int]) -> dict[int, AnyRow]:
    """Clusters by row id, with the public id of the medoid, None where it was deleted."""
    rows = connection.execute(
        text(
            "SELECT c.*, i.image_id AS medoid FROM cluster c LEFT JOIN image i ON i.id = c.medoid_id"
            " AND i.deleted_at IS NULL WHERE c.id = ANY(:ids)"
        ),
        {"ids": list(row_ids)},
    )
    return {row.id: row for row in rows}


def forget_images(connection: Connection, ids: Sequence[int]) -> None:
    """Take images that the same transaction deletes out of all clusters.

    But for those that a job is replacing: it removes them itself, and nobody waits for it.
    """
    connection.execute(
        text(
            "DELETE FROM cluster_member WHERE (cluster_id, image_id) IN (SELECT cluster_id, image_id"
            " FROM cluster_member WHERE image_id = ANY(:ids) FOR UPDATE SKIP LOCKED)"
        ),
        {"ids": list(ids)},
    )


def _asks(question: Question) -> tuple[Any, ...]:
    return (
        cluster_run.c.fingerprint == question.fingerprint,
        cluster_run.c.linkage == question.linkage,
        cluster_run.c.max_distance == question.max_distance,
        cluster_run.c.filter == question.wanted.json,
    )
