"""`/livez`, `/readyz`, `/metrics`: for those who run the service; no key needed, nothing private shown."""

import anyio
from fastapi import APIRouter
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from app.catalog import schema, session
from app.errors import DatabaseAway, Unavailable
from app.parts import Parts
from app.web.metrics import exposition, index_images
from app.web.parts import WithParts
from app.web.schemas import example_response, problem_responses

router = APIRouter(tags=["health"])

LONGEST_CHECK_SECONDS = 2.5


EXAMPLE_READY = {"status": "ready", "images": 150000, "index_seq": 150020}


@router.get("/livez", responses={200: example_response({"status": "alive"})})
async def livez() -> dict[str, str]:
    """Tell that the process answers; asks nothing else."""
    return {"status": "alive"}


@router.get(
    "/readyz",
    responses={200: example_response(EXAMPLE_READY), **problem_responses(503)},
)
async def readyz(parts: WithParts) -> dict[str, str | int]:
    """Tell that the database answers and keeps commits, its schema is current, and the index is loaded."""
    try:
        with anyio.fail_after(LONGEST_CHECK_SECONDS):
            return await anyio.to_thread.run_sync(lambda: _check(parts), abandon_on_cancel=True)
    except TimeoutError as error:
        raise DatabaseAway("the database did not answer in time") from error


@router.get("/metrics", response_class=Response)
def metrics(parts: WithParts) -> Response:
    """Metrics in Prometheus' text format."""
    index = parts.collection.current
    index_images.set(len(index) if index else 0)
    body, media_type = exposition()
    return Response(body, media_type=media_type)


def _check(parts: Parts) -> dict[str, str | int]:
    # What asks nobody comes first: the answer "not yet" is cheap then.
    if not parts.intake.decoders.serving:
        raise Unavailable("the decoding processes are starting", retry_after_seconds=1)
    index = parts.collection.current
    if index is None or parts.keypoints.current is None:
        raise Unavailable("the index is being loaded", retry_after_seconds=1)
    try:
        with session.autocommit(parts.engine) as connection:
            session.check_durability(connection)
            if schema.current_revision(connection) != schema.newest_revision():
                raise Unavailable("the database's schema is not the one this version works with")
    except SQLAlchemyError as error:
        raise session.translated(error) from error
    return {"status": "ready", "images": len(index), "index_seq": index.last}
