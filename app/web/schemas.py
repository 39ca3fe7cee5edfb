"""The JSON of the API."""

import http
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.catalog.rows import AnyRow
from app.catalog.templates import background_of
from app.fingerprints.value import WHOLE_IMAGE_HASHES
from app.ingest import Outcome
from app.matching.kinds import COPIES, KINDS
from app.matching.templates import PATTERN
from app.regions import Region
from app.screening import NO_VERDICT, PENDING, Answer
from app.search import Query, SimilarPage
from app.web import examples
from app.web.examples import shown
from app.web.match_schemas import (
    SOURCE_WORDS,
    TURNS,
    Evidence,
    Match,
    Transform,
    evidence_json,
    matches_json,
)
from app.web.problems import MEDIA_TYPE, problem
from app.web.times import Time

Verdict = Literal[(*KINDS, NO_VERDICT, PENDING)]  # type: ignore[valid-type]
Status = Literal["fingerprinted", "low_information"]


class Problem(BaseModel):
    """RFC 9457 problem; `field` and `limit` name what was out of range where that is known."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["/problems/invalid-value"])
    title: str = Field(examples=["Unprocessable Content"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["max_distance must be 0 to 64 bits"])
    field: str | None = Field(default=None, examples=["max_distance"])
    limit: int | float | str | None = Field(default=None, examples=[64])


def problem_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's description of answers that are problems."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {
            "description": http.HTTPStatus(status).phrase,
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status in statuses
    }


def example_response(example: dict[str, Any]) -> dict[str, Any]:
    """OpenAPI's description of a JSON answer that has no model: an example of it."""
    return {"content": {"application/json": {"example": example}}}


class Box(BaseModel):
    """A region, in pixels of the upright picture of at most 512 px: `/images/{id}/content?size=rendition`."""

    x: int
    y: int
    width: int
    height: int


class ShownTemplate(BaseModel):
    """A template that an image shows."""

    model_config = shown(examples.SHOWN_TEMPLATE)

    template_id: str
    name: str
    distance: int = Field(
        description="Bits: of 512 for pattern, of 98 for colorhash, of 64 for the others; of keypoints the median"
        " of those that agree."
    )
    region: Box | None = Field(description="The part of the image that is like it; null: all of it.")
    chance: float | None = Field(
        description="How often an image of this collection that has nothing to do with the template is that near,"
        " at most; null by keypoints, and until a hundred images were compared."
    )


class Image(BaseModel):
    """One stored picture and what it matches."""

    model_config = shown(examples.IMAGE)

    image_id: str = Field(examples=[examples.IMAGE_ID])
    claim_id: str = Field(examples=["KD-2026-0042"])
    file_name: str = Field(examples=["fridge.jpg"])
    sha256: str
    format: str = Field(examples=["JPEG"])
    width: int
    height: int
    seq: int = Field(description="Upload order within the collection.")
    uploaded_at: Time
    taken_at: Time | None = Field(description="From EXIF, which names no zone: taken as UTC.")
    labels: dict[str, Any]
    source: dict[str, Any] | None = Field(description=SOURCE_WORDS)
    status: Status
    page: bool | None = Field(
        description="Text on white, as a scanned form or receipt: its near duplicates must be nearer. null: stored"
        " before this was looked for."
    )
    hashes: dict[str, str] = Field(
        description="16 hex digits, by name; 42 bits of colorhash count; `pattern` is the first 64 of 256 bits.",
        examples=[{"phash": "d1c48b3a7e2f9056"}],
    )
    verdict: Verdict = Field(description="Strongest kind of match against other claims.")
    matches: list[Match] = Field(
        description="Best first, at most 100, of a hub 10; the rest at `/images/{id}/matches`."
    )
    matches_total: int
    hub: int | None = Field(
        description="In how many other claims there are matches, where these are more than 20: a form, say, or a"
        " picture that everybody sends; of edited copies those in about a hundred are counted. null: in fewer."
    )
    templates: list[ShownTemplate] = Field(description="Templates that it shows, nearest first.")
    templates_pending: int = Field(
        description="Templates that a job is comparing with all stored images: this one may show them. For a new"
        " image, which is compared with all templates before the answer, those whose code is to be made anew."
    )


class UploadedImage(Image):
    """A picture of this upload; `created` is false where the claim had these bytes already."""

    model_config = shown(examples.UPLOADED_IMAGE)

    created: bool
    parts_pending: int = Field(
        description="Stored images that could not be compared with it by their parts: after an upgrade, until a job"
        " has found their keypoints and compares all anew. Of those whose pictures are lost it can't."
    )


class RejectedFile(BaseModel):
    """A file that was not taken, and why; the other files of the request are stored."""

    model_config = shown(examples.REJECTED_FILE)

    position: int = Field(description="Place among the request's files, from 0.")
    file_name: str
    problem: Problem


class UploadAnswer(BaseModel):
    """What became of the files of one upload."""

    model_config = shown(examples.UPLOAD_ANSWER)

    claim_id: str
    duplicate: bool = Field(description="Some image is a copy of one in another claim.")
    images: list[UploadedImage]
    rejected: list[RejectedFile]


class ImageList(BaseModel):
    """Images of one claim in upload order."""

    model_config = shown(examples.IMAGE_LIST)

    claim_id: str
    total: int
    images: list[Image]
    next_cursor: str | None


class MatchList(BaseModel):
    """Matches of one image, best first."""

    model_config = shown(examples.MATCH_LIST)

    image_id: str
    verdict: Verdict
    total: int
    matches: list[Match]
    next_cursor: str | None


class RegionPair(BaseModel):
    """A region of the picture asked about, and one of the image found that looks like it."""

    distance: int = Field(description="Bits.")
    query: Box
    found: Box


class Segment(BaseModel):
    """A crop-resistant region with its hash; those of 3,000 pixels and more can be found."""

    hash: str = Field(description="16 hex digits.")
    box: Box
    searchable: bool


class SegmentList(BaseModel):
    """The regions of one image."""

    model_config = shown(examples.SEGMENT_LIST)

    image_id: str
    segments: list[Segment]


class SimilarImage(BaseModel):
    """One image within the distance."""

    model_config = shown(examples.SIMILAR_IMAGE)

    image_id: str
    claim_id: str
    distance: int = Field(description="Bits.")
    transform: Transform | None = Field(
        description=f"Turns the picture asked about into this one. {TURNS} null: the pattern knows no orientation."
    )
    uploaded_at: Time
    regions: list[RegionPair] = Field(
        description="Where segments were searched: which region of which picture, nearest first."
    )
    kind: Literal["edited_copy", "same_scene"] | None = Field(
        description="Where keypoints were searched: whether it has a part of the picture or shows the same again."
    )
    evidence: Evidence | None = Field(
        description="Where keypoints were searched: how the picture asked about lies on this one."
    )


class SimilarAnswer(BaseModel):
    """All images within `max_distance` bits, nearest first, ties by upload order; one page of them."""

    model_config = shown(examples.SIMILAR_ANSWER)

    image_id: str | None
    status: Status = Field(description="A picture of low information has no similar images.")
    hash: str
    max_distance: int
    total: int
    index_seq: int = Field(description="Change stamp that this answer stands at.")
    matches: list[SimilarImage]
    next_cursor: str | None


class Job(BaseModel):
    """Long work: its state, how far it is, and what came of it."""

    model_config = shown(examples.JOB)

    job_id: str
    kind: str
    params: dict[str, Any]
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    requested_by: str
    created_at: Time
    started_at: Time | None
    finished_at: Time | None


def image_members(answer: Answer, client_id: int | None) -> dict[str, Any]:
    """Members of Image for one stored image; `client_id` as in `match_json`."""
    row = answer.row
    return {
        "image_id": str(row.image_id),
        "claim_id": row.claim_id,
        "file_name": row.file_name,
        "sha256": bytes(row.sha256).hex(),
        "format": row.format,
        "width": row.width,
        "height": row.height,
        "seq": row.created_seq,
        "uploaded_at": row.uploaded_at,
        "taken_at": row.taken_at,
        "labels": row.labels,
        "source": row.source if client_id is None else None,
        "status": row.status,
        "page": row.page,
        "hashes": hashes_json(row),
        "verdict": answer.verdict,
        "matches": matches_json(answer.matches, row.claim_id, client_id),
        "matches_total": answer.matches.total,
        "hub": answer.hub,
        "templates": [shown_template_json(each) for each in answer.templates.rows],
        "templates_pending": answer.templates.pending,
    }


def shown_template_json(row: AnyRow) -> ShownTemplate:
    """One row of `catalog.template_matches.templates_of`."""
    return ShownTemplate(
        template_id=str(row.template_id),
        name=row.name,
        distance=row.distance,
        region=row.region,
        chance=chance_of(row, row.distance),
    )


def chance_of(template: AnyRow, distance: int) -> float | None:
    """The chance level of a distance from a template (a row of it)."""
    background = background_of(template)
    return None if background is None else round(background.chance(distance), 6)


def hashes_json(row: AnyRow) -> dict[str, str]:
    """Hashes of a stored image, those that it has."""
    values = {name: getattr(row, name) for name in (*WHOLE_IMAGE_HASHES, "colorhash", "pattern")}
    return {name: f"{value:016x}" for name, value in values.items() if value is not None}


def upload_json(claim_id: str, outcome: Outcome, *, client_id: int | None = None) -> UploadAnswer:
    """What became of the files of one upload: the same from every door.

    `client_id` is given for a portal key: of an image that another client has stored for the claim already,
    it is not told what that client wrote about it.
    """
    return UploadAnswer(
        claim_id=claim_id,
        duplicate=any(answer.verdict in COPIES for answer in outcome.answers),
        images=[
            UploadedImage(
                **image_members(answer, client_id)
                | ({} if client_id in (None, answer.row.uploaded_by) else {"file_name": "", "labels": {}}),
                created=answer.created,
                parts_pending=answer.parts_pending,
            )
            for answer in outcome.answers
        ],
        rejected=[
            RejectedFile(
                position=item.position,
                file_name=item.file_name,
                problem=Problem.model_validate(problem(item.error)),
            )
            for item in outcome.rejections
        ],
    )


def similar_json(page: SimilarPage, query: Query, image_id: str | None) -> SimilarAnswer:
    """Answer to a similarity search."""
    return SimilarAnswer(
        image_id=image_id,
        status=page.status,  # type: ignore[arg-type]
        hash=query.hash_name,
        max_distance=query.max_distance,
        total=page.total,
        index_seq=page.index_seq,
        matches=[
            SimilarImage(
                image_id=str(found.row.image_id),
                claim_id=found.row.claim_id,
                distance=found.distance,
                transform=None if query.hash_name == PATTERN else found.transform,
                uploaded_at=found.row.uploaded_at,
                regions=[
                    RegionPair(
                        distance=match.distance,
                        query=Box(**asdict(match.query_box)),
                        found=Box(**asdict(match.box)),
                    )
                    for match in found.regions
                ],
                kind=found.kind,  # type: ignore[arg-type]
                evidence=None if found.evidence is None else evidence_json(found.evidence),
            )
            for found in page.matches
        ],
        next_cursor=page.next_cursor,
    )


def segments_json(image_id: str, regions: Sequence[Region]) -> SegmentList:
    """The regions of a stored image."""
    return SegmentList(
        image_id=image_id,
        segments=[
            Segment(
                hash=f"{region.hash:016x}",
                box=Box(**asdict(region.box)),
                searchable=region.box.searchable,
            )
            for region in regions
        ],
    )


def job_json(row: AnyRow) -> Job:
    """One row of the job table."""
    return Job.model_validate({**row._asdict(), "job_id": str(row.job_id)})
