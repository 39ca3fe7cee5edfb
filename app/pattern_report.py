"""What the report on patterns says: the largest clusters of a run, and all templates."""

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection

from app.catalog import clusters, images, templates
from app.catalog.filters import Filter
from app.catalog.occurrences import Owners
from app.catalog.rows import AnyRow
from app.fingerprints.keypoint_value import KEYPOINTS
from app.patterns import (
    Occurrence,
    cluster_page,
    cohesion,
    draw_mean,
    draw_sheet,
    found_run,
    occurrences_of,
    trends,
)
from app.report_page import Report, Section
from app.storage import Pictures
from app.templates import MOST_TEMPLATES

PICTURES = 16
"""On the contact sheet of each: two rows."""
CAUTIONS = (
    (
        "A cluster by the pattern fingerprint holds surfaces that are alike: wood beside wood as well as scratch"
        " beside scratch. What made them, and whether it is damage, a person must tell from the pictures."
    ),
    (
        "A cluster by keypoints is a family of copies, however edited. One by another fingerprint holds pictures"
        " that look alike as wholes: copies and the same scene, not the same kind of damage."
    ),
    (
        "Damage that is small in its picture is in no cluster of its own: a template finds it. A template without"
        " a texture of its own, or with one that is everywhere, finds strangers: its chance level tells. One by"
        " keypoints finds the very thing; how often it finds another is not told."
    ),
    "An image's day is that of its label claimed_at where that begins with one, else that of its upload.",
    "Growth compares the newest four weeks with the four before; small numbers grow and shrink by themselves.",
)


def pattern_report(
    connection: Connection,
    pictures: Pictures,
    wanted: Filter,
    *,
    run_id: UUID | None,
    weeks: int,
    most_clusters: int,
) -> Report:
    """Gather the report. Raises NotFound for a run that is not there; without any run it has templates alone."""
    last = wanted.to_day or images.newest_day(connection, wanted)
    run = clusters.find_run(connection, None) if run_id is None else found_run(connection, run_id)
    of_templates = Owners.templates()
    by_template = trends(connection, of_templates, wanted, weeks=weeks, last=last)
    found = occurrences_of(connection, of_templates, wanted)
    return Report(
        made_at=dt.datetime.now(dt.UTC),
        facts=[
            ("Images", f"{images.count_live(connection):,}"),
            ("Only images", wanted.words),
            *(() if run is None else _run_facts(run)),
        ],
        weeks=by_template.weeks,
        clusters=[]
        if run is None
        else _clusters(connection, pictures, run, wanted, weeks=weeks, last=last, most=most_clusters),
        templates=[
            _section(
                f"Template: {row.name}",
                f"template-{row.template_id}",
                found.get(row.id, Occurrence()),
                by_template.counts.get(row.id, [0] * weeks),
                facts=_template_facts(row),
                drawn=_drawn(connection, pictures, Owners.template(row.id), wanted, found.get(row.id)),
            )
            for row in templates.live(connection, 0, MOST_TEMPLATES)
        ],
        cautions=CAUTIONS,
    )


def _clusters(
    connection: Connection,
    pictures: Pictures,
    run: AnyRow,
    wanted: Filter,
    *,
    weeks: int,
    last: dt.date,
    most: int,
) -> list[Section]:
    page = cluster_page(connection, run, wanted, order="largest", begin=0, limit=most)
    by_week = trends(connection, Owners.clusters_of(run.id), wanted, weeks=weeks, last=last)
    return [
        _section(
            f"Cluster {number} of {page.total}",
            f"cluster-{row.cluster_id}",
            found,
            by_week.counts.get(row.id, [0] * weeks),
            facts=[
                ("Cluster", str(row.cluster_id)),
                ("Medoid", "deleted since" if row.medoid is None else str(row.medoid)),
                ("Cohesion", "copies" if alike is None else f"{alike:.2f}"),
            ],
            drawn=_drawn(connection, pictures, Owners.cluster(row.id), wanted, found),
        )
        for number, (row, found) in enumerate(page.clusters, 1)
        for alike in [cohesion(run, found.mean_distance)]
    ]


def _drawn(
    connection: Connection, pictures: Pictures, owners: Owners, wanted: Filter, found: Occurrence | None
) -> tuple[bytes | None, bytes | None]:
    """Contact sheet and mean picture; None of either where there are no images."""
    if found is None:
        return None, None
    return (
        draw_sheet(connection, pictures, owners, wanted, most=PICTURES),
        draw_mean(connection, pictures, owners, wanted),
    )


def _section(
    title: str,
    anchor: str,
    found: Occurrence,
    weekly: Sequence[int],
    *,
    facts: Sequence[tuple[str, str]],
    drawn: tuple[bytes | None, bytes | None],
) -> Section:
    sheet, mean = drawn
    return Section(
        title=title,
        anchor=anchor,
        images=found.images,
        claims=found.claims,
        first_seen=found.first_day,
        last_seen=found.last_day,
        facts=[*facts, ("Newest four weeks", f"{found.recent} images, {found.before} in the four before")],
        weekly=weekly,
        labels={
            name: [(str(count.value), count.images) for count in counts]
            for name, counts in found.labels.items()
        },
        sheet=sheet,
        mean=mean,
    )


def _run_facts(run: AnyRow) -> list[tuple[str, str]]:
    left_out = sum(run.left_out.values())
    return [
        ("Clusters", f"by {run.fingerprint}, {_within(run)}, {run.min_size} images and more"),
        ("Clustered", f"{run.created_at:%Y-%m-%d %H:%M} UTC, {Filter.of_json(run.filter).words}"),
        ("In no cluster", f"{run.outside:,} images; {left_out:,} {_left_out(run)}"),
    ]


def _within(run: AnyRow) -> str:
    return "of copies" if run.fingerprint == KEYPOINTS else f"within {run.max_distance} bits"


def _left_out(run: AnyRow) -> str:
    return "not compared with all others yet" if run.fingerprint == KEYPOINTS else "without that fingerprint"


def _template_facts(row: AnyRow) -> list[tuple[str, str]]:
    state = "on" if row.enabled else "off"
    if row.enabled and not row.scanned:
        state = "on; still being compared with older images"
    median = ", the median of those that agree" if row.fingerprint == KEYPOINTS else ""
    return [
        ("Template", str(row.template_id)),
        ("Fingerprint", f"{row.fingerprint}, within {row.max_distance} bits{median}"),
        ("Switched", state),
        ("Chance level", _chance(row)),
    ]


def _chance(row: AnyRow) -> str:
    if row.fingerprint == KEYPOINTS:
        return "not told by keypoints"
    background = templates.background_of(row)
    if background is None:
        return "unknown: fewer than a hundred images were compared"
    return f"at most {background.chance(row.max_distance):.2%} of unrelated images are within that distance"
