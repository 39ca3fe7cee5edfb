"""`/images/{image_id}`: one stored picture, its bytes, its matches, its labels."""

import io
from typing import Annotated, Any, Literal
from urllib.parse import quote

import anyio
from fastapi import APIRouter, Query, Request
from PIL import Image as PillowImage
from sqlalchemy import Connection
from starlette.responses import Response

from app.catalog import events, images, matches
from app.catalog.keys import Caller
from app.catalog.rows import AnyRow
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidValue, NotFound
from app.explanation import hashes_of_image, hashes_of_pair
from app.labels import check_label_count, check_labels
from app.parts import Parts
from app.regions import regions_of_image
from app.removal import delete_image
from app.screening import answer_image, verdict_of
from app.web.access import Admin, Reader, check_own, own_client
from app.web.form import read_body
from app.web.match_schemas import matches_json
from app.web.opaque import opaque_id
from app.web.parts import WithParts
from app.web.pictures import PNG, PRIVATE, png
from app.web.query import Number
from app.web.schemas import (
    Image,
    MatchList,
    SegmentList,
    image_members,
    problem_responses,
    segments_json,
)

router = APIRouter(prefix="/images/{image_id}", tags=["images"], responses=problem_responses(404))

THUMBNAIL_SIDE = 256
MAX_MATCHES_PER_PAGE = 200

PATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"labels": {"type": "object"}}},
                "example": {"labels": {"branch": "Kiel", "product": None}},
            }
        },
    }
}


@router.get("")
def get_image(image_id: str, caller: Reader, parts: WithParts) -> Image:
    """Show one image with its verdict and its best matches."""
    with parts.engine.connect() as connection:
        row = _own_row(connection, image_id, caller)
        answer = answer_image(connection, row)
    return Image(**image_members(answer, own_client(caller)))


@router.get(
    "/content",
    response_class=Response,
    responses={200: {"content": {"image/*": {}}, "description": "The picture."}},
)
def get_content(
    image_id: str,
    caller: Reader,
    parts: WithParts,
    size: Literal["original", "rendition", "thumbnail"] = "original",
) -> Response:
    """Fetch the uploaded bytes, the upright picture of at most 512 px, or a thumbnail of at most 256 px.

    404 for the original too where the setting STORE_ORIGINALS was off when it was uploaded.
    """
    with parts.engine.connect() as connection:
        row = _own_row(connection, image_id, caller)
    headers = dict(PRIVATE)
    original = size == "original"
    read = parts.pictures.read_original if original else parts.pictures.read_rendition
    try:
        content = read(row.image_id)
    except FileNotFoundError:
        raise _no_content(parts, image_id, caller, original=original) from None
    media_type = f"image/{row.format.lower()}" if original else "image/jpeg"
    if size == "thumbnail":
        try:
            content = _thumbnail(content)
        except (OSError, ValueError, SyntaxError):
            raise _no_content(parts, image_id, caller, original=False) from None
    name = row.file_name if original else f"{image_id}.jpg"
    headers["Content-Disposition"] = f"inline; filename*=utf-8''{quote(name, safe='')}"
    return Response(content, media_type=media_type, headers=headers)


@router.get(
    "/hashes.png",
    response_class=Response,
    responses=PNG,
)
def get_hashes(
    image_id: str,
    caller: Reader,
    parts: WithParts,
    other: Annotated[
        str | None, Query(description="Another image: the bits that differ from its hashes are red.")
    ] = None,
) -> Response:
    """Draw the hashes as grids of bits; of two images, turned as they are nearest, with what differs."""
    with parts.engine.connect() as connection:
        row = _own_row(connection, image_id, caller)
        regions = regions_of_image(connection, row.created_seq)
        if other is not None:
            second = _own_row(connection, other, caller, field="other")
            others = regions_of_image(connection, second.created_seq)
    # Outside of the transaction, which may not be idle for as long as the storage of pictures may take.
    if other is None:
        return png(hashes_of_image(parts.pictures, row, regions))
    return png(hashes_of_pair(parts.pictures, row, second, regions, others))


@router.get("/segments")
def get_segments(image_id: str, caller: Reader, parts: WithParts) -> SegmentList:
    """List the crop-resistant regions of an image; an image of low information has none."""
    with parts.engine.connect() as connection:
        row = _own_row(connection, image_id, caller)
        return segments_json(image_id, regions_of_image(connection, row.created_seq))


@router.get("/matches", responses=problem_responses(400))
def get_matches(
    image_id: str,
    caller: Reader,
    parts: WithParts,
    limit: Annotated[Number, Query(ge=1, le=MAX_MATCHES_PER_PAGE)] = 50,
    cursor: str | None = None,
) -> MatchList:
    """List all matches of an image, best first, with images uploaded before and after it."""
    subject = f"matches {image_id}"
    with parts.engine.connect() as connection:
        row = _own_row(connection, image_id, caller)
        if cursor is None:
            as_of, after = images.newest_seq(connection), (-1, -1, -1)
        else:
            as_of, *rest = decode_cursor(cursor, subject, 4)
            after = (rest[0], rest[1], rest[2])
        page = matches.matches_of(
            connection,
            image_row_id=row.id,
            claim_id=row.claim_id,
            limit=limit + 1,
            after=after,
            as_of=as_of,
        )
    last = page.rows[limit - 1] if len(page.rows) > limit else None
    return MatchList(
        image_id=image_id,
        verdict=verdict_of(page, screened=row.screened_at is not None),
        total=page.total,
        matches=matches_json(page, row.claim_id, own_client(caller))[:limit],
        next_cursor=last and encode_cursor(subject, as_of, last.rank, last.nearest, last.created_seq),
    )


@router.patch("", openapi_extra=PATCH_BODY, responses=problem_responses(408))
async def patch_image(image_id: str, request: Request, caller: Reader, parts: WithParts) -> Image:
    """Change labels: a value replaces, null takes away, what is not named stays."""
    patch = await read_body(request)
    if not isinstance(patch, dict) or set(patch) != {"labels"}:
        raise InvalidValue('the body must be a JSON object with the one member "labels"', field="body")
    changes = check_labels(patch["labels"], allow_null=True)
    return await anyio.to_thread.run_sync(lambda: _patch(image_id, changes, caller, parts))


@router.delete("", status_code=204)
def delete_one_image(image_id: str, caller: Admin, parts: WithParts) -> None:
    """Delete an image: gone from every answer at once, its bytes erased."""
    delete_image(parts.engine, parts.pictures, opaque_id(image_id, "image_id"), actor=caller.actor)


def _patch(image_id: str, changes: dict[str, Any], caller: Caller, parts: WithParts) -> Image:
    with parts.engine.begin() as connection:
        rows = images.lock_live(connection, image_id=_own_row(connection, image_id, caller).image_id)
        if not rows:
            raise NotFound(f"no image {image_id}", field="image_id")
        row = rows[0]
        labels = {name: value for name, value in (row.labels | changes).items() if value is not None}
        check_label_count(labels)
        images.set_labels(connection, row.image_id, labels)
        # Names alone: the log keeps them when the image, and with it what its labels say, is deleted.
        events.log_event(
            connection,
            actor=caller.actor,
            action="image.labels",
            subject=str(row.image_id),
            detail={"labels": sorted(changes)},
        )
    with parts.engine.connect() as connection:
        answer = answer_image(connection, _own_row(connection, image_id, caller))
    return Image(**image_members(answer, own_client(caller)))


def _own_row(connection: Connection, image_id: str, caller: Caller, *, field: str = "image_id") -> AnyRow:
    row = images.live_by_id(connection, opaque_id(image_id, field))
    if row is None:
        raise NotFound(f"no image {image_id}", field=field)
    check_own(caller, row)
    return row


def _no_content(parts: Parts, image_id: str, caller: Caller, *, original: bool) -> NotFound:
    """Why a live image has no such bytes: deleted between the look-up and here, if not by a setting."""
    with parts.engine.connect() as connection:
        _own_row(connection, image_id, caller)
    if original:
        return NotFound(
            f"the original of image {image_id} is not kept: STORE_ORIGINALS was off when it was uploaded, or its"
            " file is lost; size=rendition gives the picture at no more than 512 px",
            field="size",
        )
    return NotFound(f"the rendition of image {image_id} is lost or damaged", field="size")


def _thumbnail(rendition: bytes) -> bytes:
    """Shrink a rendition, which this service wrote itself and may therefore decode in this process."""
    with PillowImage.open(io.BytesIO(rendition), formats=["JPEG"]) as picture:
        picture.draft("RGB", (THUMBNAIL_SIDE, THUMBNAIL_SIDE))
        picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), PillowImage.Resampling.BICUBIC)
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=85)
    return out.getvalue()
