"""The worker table: which processes serve this collection, and how far each one's index is."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, delete, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.catalog.models import index_meta, worker
from app.catalog.rows import AnyRow


def report(
    connection: Connection,
    *,
    worker_id: UUID,
    host: str,
    pid: int,
    generation: int,
    index_seq: int,
    rebuild: dict[str, Any] | None,
) -> None:
    """Write the heartbeat of one worker: the generation its index was built for, and what a rebuild found."""
    values = {"generation": generation, "index_seq": index_seq, "rebuild": rebuild}
    statement = insert(worker).values(worker_id=worker_id, host=host, pid=pid, **values)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["worker_id"], set_=values | {"heartbeat_at": func.clock_timestamp()}
        )
    )


def alive(connection: Connection, within_seconds: float) -> Sequence[AnyRow]:
    """Workers heard of within that many seconds."""
    return connection.execute(
        select(worker)
        .where(worker.c.heartbeat_at > _seconds_ago(within_seconds))
        .order_by(worker.c.started_at)
    ).all()


def leave(connection: Connection, worker_id: UUID) -> None:
    """Take a worker that stops in good order off the list."""
    connection.execute(delete(worker).where(worker.c.worker_id == worker_id))


def forget_silent(connection: Connection, within_seconds: float) -> None:
    """Drop workers not heard of for that many seconds."""
    connection.execute(delete(worker).where(worker.c.heartbeat_at < _seconds_ago(within_seconds)))


def next_generation(connection: Connection) -> int:
    """Bump the generation, which has every worker rebuild its index; return the new one."""
    generation: int = connection.execute(
        update(index_meta).values(generation=index_meta.c.generation + 1).returning(index_meta.c.generation)
    ).scalar_one()
    return generation


def collection_id(connection: Connection) -> UUID:
    """Name of the collection that this database holds."""
    name: UUID = connection.execute(select(index_meta.c.collection_id)).scalar_one()
    return name


def _seconds_ago(seconds: float) -> Any:
    return func.clock_timestamp() - text("make_interval(secs => :seconds)").bindparams(seconds=seconds)
