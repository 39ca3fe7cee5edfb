"""`/similar`: all stored images within a distance of one image, exactly."""

from typing import Annotated, Literal

import anyio
from fastapi import APIRouter, Request
from fastapi import Query as Parameter
from PIL.Image import Image
from pydantic import Field

from app.errors import UnusablePicture
from app.fingerprints.keypoint_value import KEYPOINTS
from app.imaging import Fingerprinted
from app.search import (
    DEFAULT_DISTANCES,
    HASHES,
    MAX_DISTANCES,
    MAX_LIMIT,
    ORIENTATIONS,
    Query,
)
from app.web.access import QualityControl
from app.web.filters import Filtered
from app.web.form import read_form
from app.web.opaque import opaque_id
from app.web.parts import Searches, Uploads, WithParts
from app.web.query import Number
from app.web.schemas import SimilarAnswer, problem_responses, similar_json

router = APIRouter(tags=["similar"], responses=problem_responses(400, 422))

PICTURE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {"file": {"type": "string", "format": "binary"}},
                }
            }
        },
    }
}


class Parameters(Filtered):
    """Query parameters of both searches."""

    max_distance: Number | None = Field(
        default=None,
        ge=0,
        le=max(MAX_DISTANCES.values()),
        description="Bits, inclusive: of 64, of 98 for colorhash, at most 16 for segments, 12 for keypoints. Left"
        " out, it is 10, 6 for segments, 14 for pattern, 12 for keypoints.",
    )
    hash_name: Literal[HASHES] = Field(  # type: ignore[valid-type]
        default="phash",
        alias="hash",
        description="Which hash; `segments` for regions of images, `pattern` for surfaces that are alike,"
        " `keypoints` for images that have a part in common.",
    )
    orientations: Literal[ORIENTATIONS] = Field(  # type: ignore[valid-type]
        default="as_stored", description="`all`: in any of the eight orientations."
    )
    limit: Number = Field(default=50, ge=1, le=MAX_LIMIT, description="Images per page.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")

    def query(self) -> Query:
        """Return the search that is asked for."""
        return Query(
            max_distance=DEFAULT_DISTANCES[self.hash_name]
            if self.max_distance is None
            else self.max_distance,
            hash_name=self.hash_name,
            orientations=self.orientations,
            limit=self.limit,
            cursor=self.cursor,
            wanted=self.wanted(),
        )


class StoredParameters(Parameters):
    """Query parameters of the search by a stored image."""

    image_id: str = Field(description="The image to find the like of.")


@router.get("/similar", responses=problem_responses(404))
async def find_similar(
    parameters: Annotated[StoredParameters, Parameter()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> SimilarAnswer:
    """Find every other stored image within `max_distance` bits of a stored one, nearest first."""
    query = parameters.query()
    image_id = opaque_id(parameters.image_id, "image_id")
    page = await anyio.to_thread.run_sync(lambda: parts.search.by_image(image_id, query), limiter=searches)
    return similar_json(page, query, str(image_id))


@router.post("/similar", openapi_extra=PICTURE_BODY, responses=problem_responses(408, 415, 507))
async def find_similar_to_picture(
    parameters: Annotated[Parameters, Parameter()],
    request: Request,
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    uploads: Uploads,
    searches: Searches,
) -> SimilarAnswer:
    """Find every stored image within `max_distance` bits of a picture that is sent and not stored."""
    query = parameters.query()
    form = await read_form(request, parts, file_part="file", max_files=1, fields=set())

    def look() -> tuple[Fingerprinted, Image | None]:
        try:
            return parts.intake.look_at(form.files[0], rendition=query.hash_name == KEYPOINTS)
        except UnusablePicture as error:
            error.field = "file"
            raise

    decoded, picture = await anyio.to_thread.run_sync(look, limiter=uploads)
    page = await anyio.to_thread.run_sync(
        lambda: parts.search.by_picture(decoded, query, picture), limiter=searches
    )
    return similar_json(page, query, None)
