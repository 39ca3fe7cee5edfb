"""The JSON of clusters and templates."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.catalog.occurrences import LabelCount
from app.catalog.rows import AnyRow
from app.patterns import BITS_OF, FINGERPRINTS, LEAST_SIZES, LINKAGES, Occurrence, cohesion
from app.web import examples
from app.web.examples import shown
from app.web.filters import Day
from app.web.match_schemas import Transform
from app.web.schemas import Box, chance_of
from app.web.times import Time

ShownLabel = str | bool | int | float


class LabelShare(BaseModel):
    """How many images have that value of a label, and what share of all that is."""

    value: ShownLabel
    images: int
    share: float


class Found(BaseModel):
    """Where and when images of a pattern came."""

    images: int
    claims: int
    first_day: dt.date | None = Field(
        description="By the label `claimed_at`, else of the upload, as in filters."
    )
    last_day: dt.date | None
    recent: int = Field(
        description="In the four weeks up to the day of the newest image, in a cluster or not."
    )
    before: int = Field(description="In the four weeks before these.")
    labels: dict[str, list[LabelShare]] = Field(description="By name, most frequent value first, at most 20.")


class Template(BaseModel):
    """A reference picture of some damage, or a part of one."""

    model_config = shown(examples.TEMPLATE)

    template_id: str
    name: str
    fingerprint: str
    max_distance: int = Field(description="Bits, inclusive.")
    enabled: bool = Field(description="Whether images are compared with it.")
    width: int = Field(description="Of its upright picture of at most 512 px, as `height`.")
    height: int
    region: Box | None = Field(description="In pixels of that picture; null: all of it.")
    created_at: Time
    compared: bool = Field(
        description="Whether it was compared with all images there were before it; false while it is switched off."
    )
    job_id: str | None = Field(description="The job that is about to compare it.")
    compared_images: int | None = Field(description="How many those were.")
    found: Found


class TemplateList(BaseModel):
    """Templates, oldest first."""

    model_config = shown(examples.TEMPLATE_LIST)

    total: int
    templates: list[Template]
    next_cursor: str | None


class TemplateMatch(BaseModel):
    """One image that shows a template; by pattern the region is a tile: half, or a quarter, of its sides."""

    image_id: str
    claim_id: str
    uploaded_at: Time
    labels: dict[str, Any]
    distance: int = Field(
        description="Bits: of 512 for pattern, of 98 for colorhash, of 64 for the others; of keypoints the median"
        " of those that agree."
    )
    region: Box | None = Field(
        description="The part of the image that is like the template; null: all of it."
    )
    transform: Transform | None = Field(description="Turns the template into the image, where that is known.")
    chance: float | None = Field(
        description="How often an image of this collection that has nothing to do with the template is that near,"
        " at most; null by keypoints, and before there are images enough to tell."
    )


class TemplateMatches(BaseModel):
    """Images that show a template, nearest first, ties by upload order; one page of them."""

    model_config = shown(examples.TEMPLATE_MATCHES)

    template_id: str
    total: int
    not_compared_yet: int = Field(
        description="Images that no template was compared with yet: just stored and not answered, or from before"
        " fingerprints that a job is computing for them."
    )
    matches: list[TemplateMatch]
    next_cursor: str | None


class NewClusters(BaseModel):
    """What is to be clustered, and how."""

    model_config = ConfigDict(extra="forbid", strict=True)

    fingerprint: Literal[FINGERPRINTS] = Field(default="pattern")  # type: ignore[valid-type]
    linkage: Literal[LINKAGES] | None = Field(  # type: ignore[valid-type]
        default=None,
        description="medoid: all members are within max_distance of the medoid. single: whatever is linked by"
        " steps of max_distance, for copies only; for keypoints whatever is linked by copies, however edited, and"
        " there is no distance. Left out, it is medoid, and single for keypoints.",
    )
    max_distance: int | None = Field(
        default=None, ge=0, description=f"Bits, inclusive; of {BITS_OF['pattern']} for pattern."
    )
    looseness: Literal["tight", "usual", "loose"] | None = Field(
        default=None,
        description="In place of max_distance: 64, 72, 80 bits for pattern, 4, 8, 12 for the others. Both left out,"
        " it is `usual`, or `tight` by single linkage; keypoints have neither.",
    )
    min_size: int | None = Field(
        default=None,
        ge=2,
        le=1_000_000,
        description=f"Least number of images; left out, {LEAST_SIZES['medoid']}, or {LEAST_SIZES['single']} by"
        " single linkage.",
    )
    labels: dict[str, Any] = Field(default={}, description="Only images that have all these.")
    from_day: Day | None = Field(default=None, alias="from", strict=False)
    to_day: Day | None = Field(default=None, alias="to", strict=False)


class Shared(BaseModel):
    """A cluster of another run, and how many images it shares with this one."""

    cluster_id: str
    images: int


class Ended(BaseModel):
    """A cluster of the run before whose id nothing carries on, and where its images are now."""

    cluster_id: str
    went_to: list[Shared]


class Run(BaseModel):
    """One run of clustering: what was asked, and what is in no cluster."""

    model_config = shown(examples.RUN)

    run_id: str
    fingerprint: str
    linkage: str
    max_distance: int
    min_size: int
    filter: dict[str, Any]
    created_at: Time
    as_of_seq: int = Field(description="`seq` of the newest image that took part.")
    outside: int = Field(description="Images that are like too few others: in no cluster.")
    left_out: dict[str, int] = Field(
        description="Images that have no such fingerprint, by why; by keypoints: not compared with all others yet."
    )
    ended_total: int = Field(description="Clusters of the run before that no cluster carries on.")


class WholeRun(Run):
    """A run with the clusters that ended with it."""

    model_config = shown(examples.WHOLE_RUN)

    ended: list[Ended]


class RunList(BaseModel):
    """The newest run of each question, newest first."""

    model_config = shown(examples.RUN_LIST)

    runs: list[Run]


class Cluster(BaseModel):
    """Images that are all within the run's distance of the medoid; by single linkage, of one another in steps; by
    keypoints copies, one of another."""

    model_config = shown(examples.CLUSTER)

    cluster_id: str = Field(description="Carried over from the run before by the largest overlap.")
    medoid: str | None = Field(description="The image that stands for it; null when that was deleted since.")
    cohesion: float | None = Field(
        description="1 where all members are equal to the medoid, 0 where they are no nearer to it than by chance;"
        " null without any, and of copies."
    )
    came_from: list[Shared] = Field(description="Clusters of the run before: two and more if they merged.")
    found: Found


class ClusterList(BaseModel):
    """Clusters of one run."""

    model_config = shown(examples.CLUSTER_LIST)

    run: Run
    total: int
    clusters: list[Cluster]
    next_cursor: str | None


class Member(BaseModel):
    """One image of a cluster."""

    image_id: str
    claim_id: str
    uploaded_at: Time
    labels: dict[str, Any]
    distance: int = Field(description="Bits to the medoid; of clusters by keypoints copies, one of another.")


class WholeCluster(Cluster):
    """A cluster with its members, nearest to the medoid first; one page of them."""

    model_config = shown(examples.WHOLE_CLUSTER)

    run: Run
    members: list[Member]
    next_cursor: str | None


class ClusterTrend(BaseModel):
    """Images of a cluster by week."""

    cluster_id: str
    counts: list[int]


class TemplateTrend(BaseModel):
    """Images that show a template by week."""

    template_id: str
    name: str
    counts: list[int]


class TrendsAnswer(BaseModel):
    """Counts by week, of the largest clusters of a run and of all templates."""

    model_config = shown(examples.TRENDS)

    weeks: list[dt.date] = Field(description="Mondays.")
    run_id: str | None
    clusters: list[ClusterTrend]
    templates: list[TemplateTrend]


def found_json(each: Occurrence) -> Found:
    """Where and when."""
    return Found(
        images=each.images,
        claims=each.claims,
        first_day=each.first_day,
        last_day=each.last_day,
        recent=each.recent,
        before=each.before,
        labels=_shares(each.labels, each.images),
    )


def _shares(labels: Mapping[str, Sequence[LabelCount]], images: int) -> dict[str, list[LabelShare]]:
    return {
        name: [
            LabelShare(value=count.value, images=count.images, share=round(count.images / images, 4))
            for count in counts
        ]
        for name, counts in labels.items()
    }


def template_json(row: AnyRow, found: Occurrence, job_id: str | None = None) -> Template:
    """A row of `catalog.templates.live_by_id`, or of `insert_template`."""
    compared = row.scanned_seq == row.change_seq
    return Template(
        template_id=str(row.template_id),
        name=row.name,
        fingerprint=row.fingerprint,
        max_distance=row.max_distance,
        enabled=row.enabled,
        width=row.width,
        height=row.height,
        region=row.region,
        created_at=row.created_at,
        compared=compared,
        job_id=job_id if row.enabled and not compared else None,
        compared_images=row.scanned_images,
        found=found_json(found),
    )


def template_match_json(template: AnyRow, row: AnyRow) -> TemplateMatch:
    """A row of `catalog.occurrences.nearest_members`."""
    return TemplateMatch(
        **_image_members(row),
        region=row.region,
        transform=row.transform,
        chance=chance_of(template, row.distance),
    )


def run_json(row: AnyRow) -> Run:
    """A row of the runs."""
    return Run.model_validate(_run_members(row), extra="ignore")


def whole_run_json(row: AnyRow) -> WholeRun:
    """A row of the runs."""
    return WholeRun.model_validate(_run_members(row), extra="ignore")


def _run_members(row: AnyRow) -> dict[str, Any]:
    return row._asdict() | {"run_id": str(row.run_id), "ended_total": len(row.ended)}


def cluster_json(run: AnyRow, row: AnyRow, found: Occurrence) -> Cluster:
    """A row of `catalog.clusters.by_row_id`."""
    alike = cohesion(run, found.mean_distance) if found.images else None
    return Cluster(
        cluster_id=str(row.cluster_id),
        medoid=None if row.medoid is None else str(row.medoid),
        cohesion=None if alike is None else round(alike, 4),
        came_from=row.came_from,
        found=found_json(found),
    )


def member_json(row: AnyRow) -> Member:
    """A row of `catalog.occurrences.nearest_members`."""
    return Member(**_image_members(row))


def _image_members(row: AnyRow) -> dict[str, Any]:
    return {
        "image_id": str(row.image_id),
        "claim_id": row.claim_id,
        "uploaded_at": row.uploaded_at,
        "labels": row.labels,
        "distance": row.distance,
    }
