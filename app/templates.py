"""Templates: reference pictures of damage, made, changed and deleted. What they are found in: recognition, jobs."""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from uuid import UUID, uuid4

from PIL import Image
from sqlalchemy import Connection, Engine

from app.catalog import events, session, template_matches, templates
from app.catalog.rows import AnyRow
from app.errors import Conflict, InvalidValue, NotFound, UnusablePicture
from app.fingerprints.keypoint_value import KEYPOINTS
from app.fingerprints.value import COLUMN_OF, FINGERPRINTED
from app.imaging import Fingerprinted
from app.ingest import Intake, Upload
from app.matching.overlaps import LEAST_AGREEING
from app.matching.regions import Box
from app.matching.sightings import Detail
from app.matching.templates import COLOURS, FARTHEST_BY, PATTERN, code_to_bytes
from app.removal import erase_deleted
from app.storage import Pictures, open_rendition

log = logging.getLogger(__name__)

FINGERPRINTS = tuple(FARTHEST_BY)
# Of 512 bits for patterns: within 120 of a cut-out of steel are a third of the photos of its class, one of 120 of
# other classes, and none of photos of something else.
# Of keypoints: within 6 are 96 % of copies of which the template is a quarter, and one of 6,600 other photos, of
# which within 12 are one of 320 (docs/decisions/0013).
DEFAULT_DISTANCES = dict.fromkeys(FINGERPRINTS, 10) | {PATTERN: 120, KEYPOINTS: 6}
MOST_TEMPLATES = 500
"""Every upload is compared with all of them, at some 20 microseconds each, and more for one by keypoints that it
may show."""


@dataclass(frozen=True, slots=True)
class NewTemplate:
    """What a template is to be; `region` in pixels of the upright picture as it was sent.

    None: all of it, which the pattern fingerprint takes for a cut-out of a picture four times as large.
    """

    name: str
    fingerprint: str
    max_distance: int
    enabled: bool
    region: Box | None

    def __post_init__(self) -> None:
        """Raise InvalidValue for a field out of range."""
        if self.fingerprint not in FINGERPRINTS:
            raise InvalidValue(f"fingerprint must be one of {', '.join(FINGERPRINTS)}", field="fingerprint")
        check_distance(self.fingerprint, self.max_distance)


def check_distance(fingerprint: str, max_distance: int) -> None:
    """Raise InvalidValue for a radius that the fingerprint does not have."""
    most = FARTHEST_BY[fingerprint]
    if not 0 <= max_distance <= most:
        raise InvalidValue(
            f"max_distance must be 0 to {most} bits for {fingerprint}", field="max_distance", limit=most
        )


def make_template(
    engine: Engine, intake: Intake, pictures: Pictures, new: NewTemplate, upload: Upload, *, actor: str
) -> AnyRow:
    """Store a template with its picture; every upload that is acknowledged after this was compared with it.

    Raises what an upload raises, InvalidValue for a region that is not in the picture or has nothing on it, and
    Conflict when there are as many templates as there may be.
    """
    template_id = uuid4()
    try:
        found = intake.keep(pictures, template_id, upload)
        picture = open_rendition(pictures, template_id)
        box = _in_rendition(new.region, found, picture)
        code = _code(new.fingerprint, picture, None if new.region is None else box)
        with engine.begin() as connection:
            row = templates.insert_template(
                connection,
                {
                    "template_id": template_id,
                    "name": new.name,
                    "enabled": new.enabled,
                    "fingerprint": new.fingerprint,
                    "max_distance": new.max_distance,
                    "code": code,
                    "width": picture.width,
                    "height": picture.height,
                    "region": None if new.region is None else asdict(box),
                },
            )
            # After it: whoever inserts one too holds the lock of the stamps, and has committed before.
            if templates.count_live(connection) > MOST_TEMPLATES:
                raise Conflict(
                    f"there are {MOST_TEMPLATES} templates already: delete one", limit=MOST_TEMPLATES
                )
            _log(connection, actor, "template.create", row, {"fingerprint": new.fingerprint})
    except BaseException as error:
        # Where the commit may have gone through unseen the picture stays: the sweep erases it if it did not.
        if not (isinstance(error, Exception) and session.outcome_unknown(error)):
            pictures.discard(template_id)
        raise
    return row


def change_template(engine: Engine, template_id: UUID, changes: Mapping[str, Any], *, actor: str) -> AnyRow:
    """Set `name`, `max_distance` or `enabled`; return the row. Raises NotFound, InvalidValue.

    What the last two change is compared with all images anew.
    """
    with engine.begin() as connection:
        row = templates.live_by_id(connection, template_id, lock=True)
        if row is None:
            raise _no_template(template_id)
        if "max_distance" in changes:
            check_distance(row.fingerprint, changes["max_distance"])
        values = {name: value for name, value in changes.items() if getattr(row, name) != value}
        if values:
            templates.change(connection, row.id, values)
            if set(values) - {"name"}:
                template_matches.forget_template(connection, row.id)
            _log(connection, actor, "template.change", row, values)
        return found_template(connection, template_id)


def delete_template(engine: Engine, pictures: Pictures, template_id: UUID, *, actor: str) -> None:
    """Delete a template with all that was found by it; the event log keeps that it was.

    Raises NotFound, and what `erase_deleted` raises.
    """
    with engine.begin() as connection:
        row = templates.live_by_id(connection, template_id, lock=True)
        if row is None:
            raise _no_template(template_id)
        templates.bury(connection, row.id)
        matches = template_matches.forget_template(connection, row.id)
        _log(connection, actor, "template.delete", row, {"matches": matches})
    erase_deleted(pictures, [template_id])


def found_template(connection: Connection, template_id: UUID) -> AnyRow:
    """The live template of that id. Raises NotFound."""
    row = templates.live_by_id(connection, template_id)
    if row is None:
        raise _no_template(template_id)
    return row


def make_codes(engine: Engine, pictures: Pictures) -> int:
    """Make the codes that templates lack because keypoints were defined anew; return how many.

    One whose picture is lost is left out, and told in the log.
    """
    with engine.connect() as connection:
        rows = templates.to_make(connection)
    made = 0
    for row in rows:
        try:
            picture = open_rendition(pictures, row.template_id)
            code = _code(row.fingerprint, picture, None if row.region is None else Box(**row.region))
        except (FileNotFoundError, UnusablePicture) as error:
            log.warning("template %s is compared with no image: %s", row.template_id, error)
            continue
        with engine.begin() as connection:
            if templates.live_by_id(connection, row.template_id, lock=True) is not None:
                templates.change(connection, row.id, {"code": code})
                made += 1
    return made


def _no_template(template_id: UUID) -> NotFound:
    return NotFound(f"no template {template_id}", field="template_id")


def _log(connection: Connection, actor: str, action: str, row: AnyRow, detail: dict[str, Any]) -> None:
    events.log_event(
        connection,
        actor=actor,
        action=action,
        subject=str(row.template_id),
        detail={"name": row.name} | detail,
    )


def _in_rendition(region: Box | None, found: Fingerprinted, picture: Image.Image) -> Box:
    """A region of the picture as it was sent, in pixels of its rendition."""
    if region is None:
        return Box(0, 0, picture.width, picture.height)
    right, bottom = region.x + region.width, region.y + region.height
    if min(region.x, region.y) < 0 or right > found.width or bottom > found.height:
        raise InvalidValue(
            f"the region is not inside the picture of {found.width} x {found.height} pixels", field="region"
        )
    across, down = picture.width / found.width, picture.height / found.height
    left, top = round(region.x * across), round(region.y * down)
    width, height = round(right * across) - left, round(bottom * down) - top
    if min(width, height) < 1:
        raise InvalidValue("the region has no pixel of the picture's rendition of 512", field="region")
    return Box(left, top, width, height)


def _code(name: str, picture: Image.Image, region: Box | None) -> bytes:
    """What images are compared with, as it is stored."""
    # Only here: with scipy and the kernels they take half a second and 30 MB, which no start of the service needs.
    from app.fingerprints.keypoints import keypoints
    from app.fingerprints.pattern import region_pattern
    from app.fingerprints.whole import fingerprint

    corners = None
    if region is not None:
        corners = (region.x, region.y, region.x + region.width, region.y + region.height)
    field = "file" if region is None else "region"
    if name == PATTERN:
        try:
            return code_to_bytes(region_pattern(picture.convert("L"), corners))
        except ValueError as error:
            raise _unusable(field, str(error)) from error
    if name == KEYPOINTS:
        # Of the picture as a whole, for so images have them that show it: a cut-out has fewer, and others.
        detail = Detail.within(keypoints(picture.convert("L")), region or Box(0, 0, *picture.size))
        if len(detail.keypoints) < LEAST_AGREEING:
            raise _unusable(field, f"it has fewer than {LEAST_AGREEING} keypoints")
        return detail.keypoints.to_whole_bytes()
    found = fingerprint(picture if corners is None else picture.crop(corners))
    if found.information != FINGERPRINTED:
        raise _unusable(field, "there is too little in it to be told apart")
    return code_to_bytes(found.colour_code[None] if name == COLOURS else found.turned[:, [COLUMN_OF[name]]])


def _unusable(field: str, reason: str) -> UnusablePicture:
    return UnusablePicture(f"the {field} can't be a template: {reason}", field=field)
