"""`/templates`: reference pictures of damage, and the images that show them."""

import logging
from collections.abc import Callable
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from sqlalchemy.exc import SQLAlchemyError

from app.catalog import images, jobs, occurrences, session, templates
from app.catalog.filters import Filter
from app.catalog.keys import Caller
from app.catalog.occurrences import Owners
from app.cursors import decode_cursor, encode_cursor
from app.errors import InvalidValue, NotFound, Unavailable
from app.jobs.history import TEMPLATES, ask_for_scan
from app.labels import storable
from app.matching.regions import Box
from app.parts import Parts
from app.patterns import Occurrence, draw_sheet, occurrences_of
from app.templates import (
    DEFAULT_DISTANCES,
    FINGERPRINTS,
    NewTemplate,
    change_template,
    delete_template,
    found_template,
    make_template,
)
from app.web.access import QualityControl
from app.web.filters import Filtered, Paged
from app.web.form import Form, read_body, read_form, read_json
from app.web.opaque import opaque_id
from app.web.parts import Searches, Uploads, WithParts
from app.web.pattern_schemas import (
    Template,
    TemplateList,
    TemplateMatches,
    template_json,
    template_match_json,
)
from app.web.pictures import PNG, PRIVATE, png
from app.web.schemas import problem_responses

log = logging.getLogger(__name__)

router = APIRouter(prefix="/templates", tags=["templates"], responses=problem_responses(404))

MAX_NAME_CHARACTERS = 120
COMPARING_SECONDS = 2
_FIELDS = ("name", "fingerprint", "max_distance", "enabled", "region")
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}, "description": "The picture."}}
_BOX = {
    "type": "object",
    "required": ["x", "y", "width", "height"],
    "properties": {
        **{name: {"type": "integer", "minimum": 0} for name in ("x", "y")},
        **{name: {"type": "integer", "minimum": 1} for name in ("width", "height")},
    },
}
TEMPLATE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "name"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "name": {"type": "string", "maxLength": MAX_NAME_CHARACTERS},
                        "fingerprint": {"type": "string", "enum": list(FINGERPRINTS), "default": "pattern"},
                        "max_distance": {
                            "type": "integer",
                            "minimum": 0,
                            "description": "Bits: of 512 for pattern (left out: 120), of 98 for colorhash, of 64"
                            " for the others (left out: 10). By keypoints 12 at most, at the median of those that"
                            " agree (left out: 6). By pattern a region is compared with coarse tiles:"
                            " even its own picture is often 70 to 150 bits away.",
                        },
                        "enabled": {"type": "boolean", "default": True},
                        "region": _BOX
                        | {
                            "description": "As JSON, in pixels of the upright picture as it is sent (answers are in"
                            " pixels of its rendition of 512); by pattern its sides are at least an eighth of the"
                            " picture's short one. Left out: all of it, which by pattern is taken for a cut-out of"
                            " a picture four times as large; of a whole photo name the region, be it all of it."
                        },
                    },
                },
            }
        },
    }
}
PATCH_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "name": {"type": "string"},
                        "max_distance": {"type": "integer"},
                        "enabled": {"type": "boolean"},
                    },
                },
                "example": {"max_distance": 110},
            }
        },
    }
}


class _Region(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    x: int = Field(ge=0, le=10**6)
    y: int = Field(ge=0, le=10**6)
    width: int = Field(ge=1, le=10**6)
    height: int = Field(ge=1, le=10**6)


@router.post(
    "", status_code=201, openapi_extra=TEMPLATE_BODY, responses=problem_responses(408, 409, 415, 507)
)
async def create_template(
    request: Request, response: Response, caller: QualityControl, parts: WithParts, uploads: Uploads
) -> Template:
    """Store a template; every upload answered after this was compared with it, and a job compares all before.

    By `pattern` it is looked for in all parts of images: cut the damage out, or name its region. Damage without a
    texture of its own can't be found so. By `keypoints` the very same thing is found, a logo, a print, a part of
    the photo, of any place, size and angle, mirrored or negative too. By another fingerprint whole pictures that
    look like it are.
    """
    form = await read_form(request, parts, file_part="file", max_files=1, fields=_FIELDS)
    new = _new_template(form)

    def make() -> Template:
        row = make_template(
            parts.engine,
            parts.intake,
            parts.template_pictures,
            new,
            form.files[0],
            actor=caller.actor,
        )
        # No more is read: an error now would have it sent again, and made twice.
        return template_json(row, Occurrence(), _ask(parts, caller))

    answer = await anyio.to_thread.run_sync(make, limiter=uploads)
    response.headers["Location"] = f"/templates/{answer.template_id}"
    return answer


@router.get("", responses=problem_responses(400))
def list_templates(
    parameters: Annotated[Paged, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> TemplateList:
    """List templates in the order they were made in; what was found counts images of the filter."""
    wanted, limit, cursor = parameters.wanted(), parameters.limit, parameters.cursor
    (after,) = (0,) if cursor is None else decode_cursor(cursor, "templates", 1)
    with session.reading(parts.engine) as connection:
        total = templates.count_live(connection)
        rows = templates.live(connection, after, limit + 1)
        shown = rows[:limit]
        found = occurrences_of(connection, Owners.templates(), wanted, only=[row.id for row in shown])
    return TemplateList(
        total=total,
        templates=[template_json(row, found.get(row.id, Occurrence())) for row in shown],
        next_cursor=encode_cursor("templates", shown[-1].id) if len(rows) > limit else None,
    )


@router.get("/{template_id}")
def get_template(
    template_id: str,
    parameters: Annotated[Filtered, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> Template:
    """Show a template, and where and when images came that show it."""
    return _shown(parts, template_id, parameters.wanted())


@router.get("/{template_id}/content", response_class=Response, responses=_JPEG)
def get_content(
    template_id: str,
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> Response:
    """Fetch the upright picture of at most 512 px that `region` is of."""
    public_id = opaque_id(template_id, "template_id")
    with session.reading(parts.engine) as connection:
        found_template(connection, public_id)
    try:
        content = parts.template_pictures.read_rendition(public_id)
    except FileNotFoundError:
        # Deleted between the look-up and here.
        raise NotFound(f"no template {template_id}", field="template_id") from None
    return Response(content, media_type="image/jpeg", headers=PRIVATE)


@router.get("/{template_id}/matches", responses=problem_responses(400, 503))
async def get_matches(
    template_id: str,
    parameters: Annotated[Paged, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> TemplateMatches:
    """List all images that show a template, nearest first. 503 while it is being compared with those before it."""
    return await anyio.to_thread.run_sync(lambda: _matches(parts, template_id, parameters), limiter=searches)


@router.get("/{template_id}/sheet.png", response_class=Response, responses=PNG)
async def get_sheet(
    template_id: str,
    parameters: Annotated[Filtered, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> Response:
    """Draw the nearest images that show a template."""
    wanted = parameters.wanted()

    def draw() -> bytes:
        with session.reading(parts.engine) as connection:
            row = found_template(connection, opaque_id(template_id, "template_id"))
        # No transaction, which may not be idle for as long as the storage of pictures may take.
        with session.autocommit(parts.engine) as connection:
            return draw_sheet(connection, parts.pictures, Owners.template(row.id), wanted)

    drawn = await anyio.to_thread.run_sync(draw, limiter=searches)
    return png(drawn)


@router.patch("/{template_id}", openapi_extra=PATCH_BODY, responses=problem_responses(408))
async def patch_template(
    template_id: str, request: Request, caller: QualityControl, parts: WithParts
) -> Template:
    """Change name, radius, or whether it is switched on; after the latter two all images are compared anew."""
    changes = _changes(await read_body(request))

    def change() -> Template:
        change_template(parts.engine, opaque_id(template_id, "template_id"), changes, actor=caller.actor)
        _ask(parts, caller)
        return _shown(parts, template_id, Filter())

    return await anyio.to_thread.run_sync(change)


@router.delete("/{template_id}", status_code=204)
def delete_one_template(template_id: str, caller: QualityControl, parts: WithParts) -> None:
    """Delete a template: no image shows it any more. The event log keeps that it was."""
    delete_template(
        parts.engine, parts.template_pictures, opaque_id(template_id, "template_id"), actor=caller.actor
    )


def _shown(parts: Parts, template_id: str, wanted: Filter) -> Template:
    with session.reading(parts.engine) as connection:
        row = found_template(connection, opaque_id(template_id, "template_id"))
        found = occurrences_of(connection, Owners.template(row.id), wanted)
        job = jobs.active(connection, TEMPLATES)
    return template_json(row, found.get(row.id, Occurrence()), None if job is None else str(job))


def _ask(parts: Parts, caller: Caller) -> str | None:
    """Have templates compared that are to be; return the job's id. If that fails, the keeper asks in a moment."""
    try:
        with parts.engine.begin() as connection:
            ask_for_scan(connection, caller.actor)
            job = jobs.active(connection, TEMPLATES)
    except SQLAlchemyError as error:
        log.warning("no scan was asked for: %s", session.translated(error))
        return None
    return None if job is None else str(job)


def _matches(parts: Parts, template_id: str, parameters: Paged) -> TemplateMatches:
    wanted = parameters.wanted()
    subject = f"template {template_id} {wanted.json}"
    with session.reading(parts.engine) as connection:
        row = found_template(connection, opaque_id(template_id, "template_id"))
        if row.enabled and not row.scanned:
            raise Unavailable(
                "the template is being compared with all images", retry_after_seconds=COMPARING_SECONDS
            )
        if parameters.cursor is None:
            as_of, *after = images.newest_seq(connection), -1, -1
        else:
            as_of, *after = decode_cursor(parameters.cursor, subject, 3)
        owners, limit = Owners.template(row.id), parameters.limit
        total = occurrences.count(connection, owners, wanted, as_of=as_of)
        rows = occurrences.nearest_members(
            connection, owners, wanted, limit=limit + 1, after=(after[0], after[1]), as_of=as_of
        )
        waiting = images.count_not_compared(connection, row.fingerprint)
    last = rows[limit - 1] if len(rows) > limit else None
    return TemplateMatches(
        template_id=template_id,
        total=total,
        not_compared_yet=waiting,
        matches=[template_match_json(row, each) for each in rows[:limit]],
        next_cursor=None if last is None else encode_cursor(subject, as_of, last.distance, last.created_seq),
    )


def _new_template(form: Form) -> NewTemplate:
    fields = form.fields
    fingerprint = fields.get("fingerprint", "pattern")
    default = DEFAULT_DISTANCES.get(fingerprint, 0)
    return NewTemplate(
        name=_name(fields.get("name")),
        fingerprint=fingerprint,
        max_distance=_read(fields, "max_distance", _whole_number, default),
        enabled=_read(fields, "enabled", _truth, default=True),
        region=_read(fields, "region", _region, None),
    )


def _read(fields: dict[str, str], name: str, check: Callable[[Any, str], Any], default: Any) -> Any:
    """A field that is JSON; what is none is checked as the text that it is."""
    if name not in fields:
        return default
    try:
        value = read_json(fields[name], name)
    except InvalidValue:
        value = fields[name]
    return check(value, name)


def _changes(patch: Any) -> dict[str, Any]:
    checks: dict[str, Callable[[Any, str], Any]] = {
        "name": lambda value, _: _name(value),
        "max_distance": _whole_number,
        "enabled": _truth,
    }
    if not isinstance(patch, dict) or not patch or set(patch) - set(checks):
        raise InvalidValue(
            "the body must be a JSON object of name, max_distance and enabled; for another picture, region or"
            " fingerprint make another template",
            field="body",
        )
    return {name: checks[name](value, name) for name, value in patch.items()}


def _name(value: Any) -> str:
    if (
        not isinstance(value, str)
        or not value.strip()
        or len(value) > MAX_NAME_CHARACTERS
        or not storable(value)
    ):
        raise InvalidValue(
            f"name must have 1 to {MAX_NAME_CHARACTERS} characters, no control characters",
            field="name",
            limit=MAX_NAME_CHARACTERS,
        )
    return value


def _whole_number(value: Any, field: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > 10**6:
        raise InvalidValue(f"{field} must be a whole number", field=field)
    return value


def _truth(value: Any, field: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{field} must be true or false", field=field)
    return value


def _region(value: Any, field: str) -> Box | None:
    if value is None:
        return None
    try:
        return Box(**_Region.model_validate(value).model_dump())
    except ValidationError as error:
        raise InvalidValue(
            f'{field} must be {{"x", "y", "width", "height"}} in whole pixels', field=field
        ) from error
