"""`/claims/{claim_id}`: upload pictures of a claim, list them, delete them."""

from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Path, Query, Request, Response

from app.catalog import images
from app.claim_ids import CLAIM_ID, MAX_CLAIM_ID_CHARACTERS, checked_claim_id
from app.cursors import decode_cursor, encode_cursor
from app.errors import NotFound
from app.removal import delete_claim
from app.screening import answer_image
from app.web.access import Admin, Portal, Reader, own_client
from app.web.form import read_form, read_labels
from app.web.metrics import count_upload
from app.web.parts import Uploads, WithParts
from app.web.problems import problem_object, problem_response
from app.web.query import Number
from app.web.schemas import (
    Image,
    ImageList,
    RejectedFile,
    UploadAnswer,
    image_members,
    problem_responses,
    upload_json,
)

router = APIRouter(prefix="/claims/{claim_id}", tags=["claims"])

# The listing holds whole images with their matches.
MAX_IMAGES_PER_PAGE = 200

# In the document only: `checked_claim_id` answers with this project's own words.
ClaimId = Annotated[
    str,
    Path(
        json_schema_extra={"pattern": f"^{CLAIM_ID.pattern}$", "maxLength": MAX_CLAIM_ID_CHARACTERS},
        examples=["KD-2026-0042"],
    ),
]

UPLOAD_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["files"],
                    "properties": {
                        "files": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "labels": {
                            "type": "string",
                            "description": "JSON object of texts, numbers and booleans, for pictures new to the"
                            " claim. `claimed_at`, if it begins with a day as 2026-11-26, is the day that"
                            " filters and trends go by.",
                            "examples": ['{"product": "fridge", "branch": "Kiel"}'],
                        },
                    },
                },
                "encoding": {"files": {"contentType": "image/*"}},
            }
        },
    }
}


@router.post(
    "/images",
    status_code=201,
    response_model=UploadAnswer,
    openapi_extra=UPLOAD_BODY,
    responses={
        200: {"model": UploadAnswer, "description": "Every picture was stored for this claim before."},
        **problem_responses(408, 415, 507),
    },
)
async def upload_images(
    claim_id: ClaimId,
    request: Request,
    response: Response,
    caller: Portal,
    parts: WithParts,
    uploads: Uploads,
) -> Any:
    """Store pictures of a claim and say at once where each of them was used before.

    Parts named `files` hold the pictures, an optional part `labels` a JSON object. 201 if any picture is new to
    the claim, 200 if none is. Sending the same request again is safe.
    """
    checked_claim_id(claim_id)
    form = await read_form(
        request, parts, file_part="files", max_files=parts.settings.max_files, fields={"labels"}
    )
    labels = read_labels(form.fields.get("labels"))
    outcome = await anyio.to_thread.run_sync(
        lambda: parts.intake.take(claim_id, form.files, client_id=caller.client_id, labels=labels),
        limiter=uploads,
    )
    count_upload(outcome)
    answer = upload_json(claim_id, outcome, client_id=own_client(caller))
    if not answer.images:
        return _all_rejected(answer.rejected)
    response.status_code = 201 if any(image.created for image in answer.images) else 200
    return answer


@router.get("/images", responses=problem_responses(400, 404))
def list_images(
    claim_id: ClaimId,
    caller: Reader,
    parts: WithParts,
    limit: Annotated[Number, Query(ge=1, le=MAX_IMAGES_PER_PAGE)] = 50,
    cursor: str | None = None,
) -> ImageList:
    """List the images of a claim in upload order; a portal key sees its own client's."""
    checked_claim_id(claim_id)
    client_id = own_client(caller)
    subject = f"claim {claim_id}"
    (after,) = (0,) if cursor is None else decode_cursor(cursor, subject, 1)
    with parts.engine.connect() as connection:
        total = images.count_of_claim(connection, claim_id, client_id=client_id)
        if not total:
            raise NotFound(f"no claim {claim_id}", field="claim_id")
        rows = images.live_of_claim(
            connection, claim_id, client_id=client_id, after_seq=after, limit=limit + 1
        )
        answers = [answer_image(connection, row) for row in rows[:limit]]
    return ImageList(
        claim_id=claim_id,
        total=total,
        images=[Image(**image_members(answer, client_id)) for answer in answers],
        next_cursor=encode_cursor(subject, rows[limit - 1].created_seq) if len(rows) > limit else None,
    )


@router.delete("", status_code=204, responses=problem_responses(404))
def delete_whole_claim(claim_id: ClaimId, caller: Admin, parts: WithParts) -> None:
    """Delete all images of a claim: gone from every answer at once, their bytes erased."""
    checked_claim_id(claim_id)
    delete_claim(parts.engine, parts.pictures, claim_id, actor=caller.actor)


def _all_rejected(rejected: list[RejectedFile]) -> Response:
    """Problem of an upload none of whose files could be taken: their common status, else 422."""
    statuses = {item.problem.status for item in rejected}
    status = statuses.pop() if len(statuses) == 1 else 422
    if len(rejected) == 1:
        detail = rejected[0].problem.detail
    else:
        detail = f"none of the {len(rejected)} files could be taken; see `rejected`"
    members = problem_object(status, detail, slug="rejected", field="files")
    return problem_response(members, rejected=[item.model_dump(exclude_none=True) for item in rejected])
