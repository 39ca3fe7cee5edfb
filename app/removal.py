"""Deleting images and claims: gone from every answer with the commit, their bytes erased right after."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, Engine

from app.catalog import clusters, events, images, matches, template_matches
from app.catalog.rows import AnyRow
from app.errors import NotFound, StorageAway
from app.storage import Pictures


def delete_image(engine: Engine, pictures: Pictures, image_id: UUID, *, actor: str) -> None:
    """Delete one image. Raises NotFound; StorageAway where it is gone from every answer, but not its bytes."""
    with engine.begin() as connection:
        rows = images.lock_live(connection, image_id=image_id)
        if not rows:
            raise NotFound(f"no image {image_id}", field="image_id")
        _bury(connection, rows, actor=actor, action="image.delete", subject=str(image_id))
    erase_deleted(pictures, [row.image_id for row in rows])


def delete_claim(engine: Engine, pictures: Pictures, claim_id: str, *, actor: str) -> int:
    """Delete all images of a claim; return how many. Raises as `delete_image`."""
    with engine.begin() as connection:
        rows = images.lock_live(connection, claim_id=claim_id)
        if not rows:
            raise NotFound(f"no claim {claim_id}", field="claim_id")
        _bury(connection, rows, actor=actor, action="claim.delete", subject=claim_id)
    erase_deleted(pictures, [row.image_id for row in rows])
    return len(rows)


def erase_deleted(pictures: Pictures, picture_ids: Sequence[UUID]) -> None:
    """Erase what was deleted from the table. Raises StorageAway, which says so: to repeat it would be a 404."""
    try:
        pictures.erase(*picture_ids)
    except StorageAway as error:
        raise StorageAway(
            "deleted, but the storage of pictures does not answer: the bytes are erased by the sweep once it does",
            retry_after_seconds=error.retry_after_seconds,
        ) from error


def _bury(connection: Connection, rows: Sequence[AnyRow], *, actor: str, action: str, subject: str) -> None:
    ids = [row.id for row in rows]
    images.bury(connection, ids)
    # After the rows are locked no new match can name them: see catalog.matches.
    matches.forget_images(connection, ids)
    template_matches.forget_images(connection, ids)
    clusters.forget_images(connection, ids)
    events.log_event(connection, actor=actor, action=action, subject=subject, detail={"images": len(ids)})
