"""`/clusters` and `/patterns/trends`: what images are alike, and how often they come."""

from collections.abc import Callable
from typing import Annotated, Any, Literal
from uuid import UUID

import anyio
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.catalog import clusters, events, images, jobs, occurrences, session, templates
from app.catalog.clusters import Question
from app.catalog.filters import Filter
from app.catalog.occurrences import Owners
from app.cursors import decode_cursor, encode_cursor
from app.jobs.clustering import CLUSTERS, params_of
from app.labels import check_labels
from app.parts import Parts
from app.patterns import (
    MOST_WEEKS,
    ORDERS,
    Occurrence,
    cluster_page,
    draw_mean,
    draw_sheet,
    found_cluster,
    found_run,
    occurrences_of,
    question,
    trends,
)
from app.templates import MOST_TEMPLATES
from app.web.access import QualityControl
from app.web.filters import MAX_PER_PAGE, Filtered, Paged, checked_filter
from app.web.form import checked_body, read_body
from app.web.opaque import opaque_id
from app.web.parts import Searches, WithParts
from app.web.pattern_schemas import (
    ClusterList,
    ClusterTrend,
    NewClusters,
    RunList,
    TemplateTrend,
    TrendsAnswer,
    WholeCluster,
    WholeRun,
    cluster_json,
    member_json,
    run_json,
    whole_run_json,
)
from app.web.pictures import PNG, png
from app.web.query import Number
from app.web.schemas import Job, job_json, problem_responses

router = APIRouter(tags=["clusters"])

_DRAWN = {**PNG, **problem_responses(404)}
CLUSTERS_BODY = {
    "requestBody": {
        "required": False,
        "content": {
            "application/json": {
                "schema": NewClusters.model_json_schema(),
                "example": {"fingerprint": "pattern", "looseness": "usual", "labels": {"product": "fridge"}},
            }
        },
    }
}


class NoParameters(BaseModel):
    """None: an unknown one is refused."""

    model_config = ConfigDict(extra="forbid")


class ListParameters(Paged):
    """Query parameters of the list of clusters."""

    run_id: str | None = Field(default=None, description="Left out: the newest run.")
    sort: Literal[ORDERS] = Field(  # type: ignore[valid-type]
        default="largest",
        description="`growing`: by how many more images came in the newest four weeks than in the four before.",
    )


class TrendParameters(Filtered):
    """Query parameters of the counts by week."""

    run_id: str | None = Field(default=None, description="Left out: the newest run.")
    weeks: Number = Field(
        default=12, ge=1, le=MOST_WEEKS, description="Up to that of the newest image, or of `to`."
    )
    limit: Number = Field(default=20, ge=1, le=MAX_PER_PAGE, description="How many clusters, largest first.")


@router.post("/clusters", status_code=202, openapi_extra=CLUSTERS_BODY, responses=problem_responses(408, 409))
async def start_clustering(
    request: Request, response: Response, caller: QualityControl, parts: WithParts
) -> Job:
    """Group images that are alike, by a job; uploads and searches go on.

    By `pattern`: surfaces that are alike, wherever and however they lie. It can't tell what made them, nor
    group damage that is small in its picture: for that make a template. By another fingerprint: pictures that
    look alike as wholes, which are copies or the same scene, and not the same kind of damage. By `keypoints`:
    families of copies of one picture, however edited, as uploads were told of them.
    """
    asked = _question(await read_body(request))

    def start() -> Job:
        params = params_of(asked)
        with parts.engine.begin() as connection:
            row = jobs.create_job(connection, kind=CLUSTERS, params=params, requested_by=caller.actor)
            events.log_event(
                connection, actor=caller.actor, action="clusters", subject=str(row.job_id), detail=params
            )
        return job_json(row)

    job = await anyio.to_thread.run_sync(start)
    response.headers["Location"] = f"/jobs/{job.job_id}"
    return job


@router.get("/clusters", responses=problem_responses(400, 404))
async def list_clusters(
    parameters: Annotated[ListParameters, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> ClusterList:
    """List the clusters of a run, those with images of the filter, largest or fastest growing first."""
    return await anyio.to_thread.run_sync(lambda: _list(parts, parameters), limiter=searches)


@router.get("/clusters/runs")
def list_runs(
    parameters: Annotated[NoParameters, Query()],  # noqa: ARG001 - there are none
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> RunList:
    """List the newest run of each question: fingerprint, linkage, distance and filter."""
    with session.reading(parts.engine) as connection:
        return RunList(runs=[run_json(row) for row in clusters.all_runs(connection)])


@router.get("/clusters/runs/{run_id}", responses=problem_responses(404))
def get_run(
    run_id: str,
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
) -> WholeRun:
    """Show a run, with the clusters of the run before that ended, and where their images went."""
    with session.reading(parts.engine) as connection:
        return whole_run_json(found_run(connection, opaque_id(run_id, "run_id")))


@router.get("/clusters/{cluster_id}", responses=problem_responses(400, 404))
async def get_cluster(
    cluster_id: str,
    parameters: Annotated[Paged, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> WholeCluster:
    """Show a cluster, with its members nearest to the medoid first."""
    return await anyio.to_thread.run_sync(lambda: _whole(parts, cluster_id, parameters), limiter=searches)


@router.get("/clusters/{cluster_id}/sheet.png", response_class=Response, responses=_DRAWN)
async def get_sheet(
    cluster_id: str,
    parameters: Annotated[Filtered, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> Response:
    """Draw the members nearest to the medoid, at most 48, with their claims."""
    return await anyio.to_thread.run_sync(
        lambda: _drawn(parts, cluster_id, parameters.wanted(), draw_sheet), limiter=searches
    )


@router.get("/clusters/{cluster_id}/mean.png", response_class=Response, responses=_DRAWN)
async def get_mean(
    cluster_id: str,
    parameters: Annotated[Filtered, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> Response:
    """Draw the mean of the members nearest to the medoid, at most 200: sharp where they are the same."""
    return await anyio.to_thread.run_sync(
        lambda: _drawn(parts, cluster_id, parameters.wanted(), draw_mean), limiter=searches
    )


@router.get("/patterns/trends", responses=problem_responses(404))
async def get_trends(
    parameters: Annotated[TrendParameters, Query()],
    caller: QualityControl,  # noqa: ARG001 - checks the role
    parts: WithParts,
    searches: Searches,
) -> TrendsAnswer:
    """Count images by week, of the largest clusters of a run and of all templates."""
    return await anyio.to_thread.run_sync(lambda: _trends(parts, parameters), limiter=searches)


def _question(body: Any) -> Question:
    asked = checked_body(NewClusters, body)
    labels = check_labels(asked.labels)
    return question(
        fingerprint=asked.fingerprint,
        linkage=asked.linkage,
        max_distance=asked.max_distance,
        looseness=asked.looseness,
        min_size=asked.min_size,
        wanted=checked_filter(Filter(labels, asked.from_day, asked.to_day)),
    )


def _run_id(value: str | None) -> UUID | None:
    return None if value is None else opaque_id(value, "run_id")


def _list(parts: Parts, parameters: ListParameters) -> ClusterList:
    wanted, limit = parameters.wanted(), parameters.limit
    with session.reading(parts.engine) as connection:
        run = found_run(connection, _run_id(parameters.run_id))
        subject = f"clusters {run.run_id} {parameters.sort} {wanted.json}"
        (begin,) = (0,) if parameters.cursor is None else decode_cursor(parameters.cursor, subject, 1)
        page = cluster_page(connection, run, wanted, order=parameters.sort, begin=begin, limit=limit)
    return ClusterList(
        run=run_json(run),
        total=page.total,
        clusters=[cluster_json(run, row, found) for row, found in page.clusters],
        next_cursor=encode_cursor(subject, begin + limit) if begin + limit < page.total else None,
    )


def _whole(parts: Parts, cluster_id: str, parameters: Paged) -> WholeCluster:
    wanted, limit = parameters.wanted(), parameters.limit
    with session.reading(parts.engine) as connection:
        row = found_cluster(connection, opaque_id(cluster_id, "cluster_id"))
        run = clusters.run_of(connection, row)
        subject = f"cluster {row.id} {wanted.json}"  # by the row: the cluster of one run
        after = (-1, -1)
        if parameters.cursor is not None:
            distance, seq = decode_cursor(parameters.cursor, subject, 2)
            after = (distance, seq)
        owners = Owners.cluster(row.id)
        found = occurrences_of(connection, owners, wanted).get(row.id, Occurrence())
        members = occurrences.nearest_members(connection, owners, wanted, limit=limit + 1, after=after)
    last = members[limit - 1] if len(members) > limit else None
    return WholeCluster(
        **cluster_json(run, row, found).model_dump(),
        run=run_json(run),
        members=[member_json(member) for member in members[:limit]],
        next_cursor=None if last is None else encode_cursor(subject, last.distance, last.created_seq),
    )


def _drawn(parts: Parts, cluster_id: str, wanted: Filter, draw: Callable[..., bytes]) -> Response:
    with session.reading(parts.engine) as connection:
        row = found_cluster(connection, opaque_id(cluster_id, "cluster_id"))
    # No transaction, which may not be idle for as long as the storage of pictures may take.
    with session.autocommit(parts.engine) as connection:
        return png(draw(connection, parts.pictures, Owners.cluster(row.id), wanted))


def _trends(parts: Parts, parameters: TrendParameters) -> TrendsAnswer:
    wanted = parameters.wanted()
    of_templates = Owners.templates()
    with session.reading(parts.engine) as connection:
        run = (
            clusters.find_run(connection, None)
            if parameters.run_id is None
            else found_run(connection, _run_id(parameters.run_id))
        )
        found = (
            []
            if run is None
            else cluster_page(
                connection, run, wanted, order="largest", begin=0, limit=parameters.limit
            ).clusters
        )
        rows = templates.live(connection, 0, MOST_TEMPLATES)
        last = parameters.to_day or images.newest_day(connection, wanted)
        by_template = trends(connection, of_templates, wanted, weeks=parameters.weeks, last=last)
        by_cluster = (
            by_template
            if run is None
            else trends(connection, Owners.clusters_of(run.id), wanted, weeks=parameters.weeks, last=last)
        )
    none = [0] * parameters.weeks
    return TrendsAnswer(
        weeks=list(by_template.weeks),
        run_id=None if run is None else str(run.run_id),
        clusters=[
            ClusterTrend(cluster_id=str(row.cluster_id), counts=list(by_cluster.counts.get(row.id, none)))
            for row, _ in found
        ],
        templates=[
            TemplateTrend(
                template_id=str(row.template_id),
                name=row.name,
                counts=list(by_template.counts.get(row.id, none)),
            )
            for row in rows
        ],
    )
