"""Patterns of damage, read: which cluster or template has what images, where, since when, and how they look."""

import datetime as dt
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from uuid import UUID

from PIL import Image
from sqlalchemy import Connection

from app.catalog import clusters, images, occurrences
from app.catalog.clusters import Question
from app.catalog.filters import Filter
from app.catalog.occurrences import LabelCount, Owners
from app.catalog.rows import AnyRow
from app.contact_sheets import contact_sheet, mean_picture
from app.errors import InvalidValue, NotFound
from app.fingerprints.keypoint_value import KEYPOINTS
from app.fingerprints.value import COLOUR_BITS, PATTERN_WORDS, WHOLE_IMAGE_HASHES
from app.matching.templates import COLOURS, PATTERN
from app.storage import DamagedRenditionError, Pictures, open_jpeg

log = logging.getLogger(__name__)

MEDOID, SINGLE = LINKAGES = ("medoid", "single")
BITS_OF = dict.fromkeys(WHOLE_IMAGE_HASHES, 64) | {COLOURS: COLOUR_BITS, PATTERN: 64 * PATTERN_WORDS}
"""Of the code that a fingerprint is clustered by: for patterns all of their bits."""
FINGERPRINTS = (*BITS_OF, KEYPOINTS)
"""By keypoints the copies are clustered that these and whole images tell: families of a picture, however edited."""
_NEAR = {"tight": 4, "usual": 8, "loose": 12}
LOOSENESS = dict.fromkeys(BITS_OF, _NEAR) | {PATTERN: {"tight": 64, "usual": 72, "loose": 80}}
"""Bits by name, for each fingerprint. Those of patterns: docs/decisions/0012."""
USUAL = "usual"
MOST_LINKED = 8
"""Bits: of single linkage, which chains. Copies are within 4."""
LEAST_SIZES = {MEDOID: 5, SINGLE: 2}
ORDERS = ("largest", "growing")
SHEET_PICTURES = 48
MEAN_PICTURES = 200
MOST_WEEKS = 104


@dataclass(frozen=True, slots=True)
class Occurrence:
    """Where and when a pattern occurs. `recent`: images of the newest four weeks, `before`: of the four before."""

    images: int = 0
    claims: int = 0
    first_day: dt.date | None = None
    last_day: dt.date | None = None
    recent: int = 0
    before: int = 0
    mean_distance: float = 0.0
    labels: Mapping[str, Sequence[LabelCount]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ClusterPage:
    """Some of the clusters of a run in the order asked for: rows with their occurrences; `total` of all."""

    clusters: Sequence[tuple[AnyRow, Occurrence]]
    total: int


@dataclass(frozen=True, slots=True)
class Trends:
    """Images by week for each owner: `weeks` are Mondays, `counts` by owner's row id as long."""

    weeks: Sequence[dt.date]
    counts: Mapping[int, Sequence[int]]


def question(
    *,
    fingerprint: str,
    linkage: str | None,
    max_distance: int | None,
    looseness: str | None,
    min_size: int | None,
    wanted: Filter,
) -> Question:
    """What is to be clustered how. Raises InvalidValue for what does not go together or is out of range."""
    if fingerprint not in FINGERPRINTS:
        raise InvalidValue(f"fingerprint must be one of {', '.join(FINGERPRINTS)}", field="fingerprint")
    linkage = linkage or (SINGLE if fingerprint == KEYPOINTS else MEDOID)
    if linkage not in LINKAGES:
        raise InvalidValue(f"linkage must be one of {', '.join(LINKAGES)}", field="linkage")
    if max_distance is not None and looseness is not None:
        raise InvalidValue("give max_distance or looseness, not both", field="looseness")
    least = LEAST_SIZES[linkage] if min_size is None else min_size
    if least < 2:
        raise InvalidValue("min_size must be 2 or more: one image is no cluster", field="min_size", limit=2)
    if fingerprint == KEYPOINTS:
        _check_families(linkage, max_distance=max_distance, looseness=looseness)
        return Question(fingerprint, linkage, 0, least, wanted)
    return Question(
        fingerprint, linkage, _radius(fingerprint, linkage, max_distance, looseness), least, wanted
    )


def _check_families(linkage: str, **distances: object) -> None:
    if linkage != SINGLE:
        raise InvalidValue("keypoints tell what is a copy of what: by single linkage alone", field="linkage")
    for name, given in distances.items():
        if given is not None:
            raise InvalidValue(f"{name} is no part of clusters by keypoints: copies have none", field=name)


def _radius(fingerprint: str, linkage: str, max_distance: int | None, looseness: str | None) -> int:
    named = LOOSENESS[fingerprint]
    if looseness is not None and looseness not in named:
        raise InvalidValue(f"looseness must be one of {', '.join(named)}", field="looseness")
    default = "tight" if linkage == SINGLE else USUAL
    radius = named[looseness or default] if max_distance is None else max_distance
    if linkage == SINGLE and fingerprint not in WHOLE_IMAGE_HASHES:
        raise InvalidValue(
            f"single linkage chains, so it is for copies: by {', '.join(WHOLE_IMAGE_HASHES)} alone",
            field="fingerprint",
        )
    most = MOST_LINKED if linkage == SINGLE else BITS_OF[fingerprint]
    if not 0 <= radius <= most:
        raise InvalidValue(
            f"max_distance must be 0 to {most} bits for {fingerprint} by {linkage} linkage",
            field="max_distance",
            limit=most,
        )
    return radius


def occurrences_of(
    connection: Connection, owners: Owners, wanted: Filter, *, only: Sequence[int] | None = None
) -> dict[int, Occurrence]:
    """Those of all owners that have images, by row id; labels of some alone, where told so."""
    newest = images.newest_day(connection, wanted)
    labels = occurrences.label_counts(connection, owners, wanted, only=only)
    return {
        row.owner: Occurrence(
            row.images,
            row.claims,
            row.first_day,
            row.last_day,
            row.recent,
            row.before,
            row.mean_distance,
            labels.get(row.owner, {}),
        )
        for row in occurrences.summaries(connection, owners, wanted, newest)
    }


def cluster_page(
    connection: Connection, run: AnyRow, wanted: Filter, *, order: str, begin: int, limit: int
) -> ClusterPage:
    """The clusters of a run that have images of the filter; largest first, or those that grew most of late."""
    owners = Owners.clusters_of(run.id)
    found = occurrences_of(connection, owners, wanted, only=[])

    def place(owner: int) -> tuple[int, ...]:
        each = found[owner]
        grown = each.recent - each.before
        return (-grown, -each.recent, -each.images, owner) if order == "growing" else (-each.images, owner)

    chosen = sorted(found, key=place)[begin : begin + limit]
    labels = occurrences.label_counts(connection, owners, wanted, only=chosen)
    rows = clusters.by_row_id(connection, chosen)
    return ClusterPage(
        [(rows[owner], replace(found[owner], labels=labels.get(owner, {}))) for owner in chosen], len(found)
    )


def found_run(connection: Connection, run_id: UUID | None) -> AnyRow:
    """The run of that id, or the newest. Raises NotFound."""
    row = clusters.find_run(connection, run_id)
    if row is None:
        missing = (
            "no clusters yet: POST /clusters, and wait for its job"
            if run_id is None
            else f"no run {run_id}; of each question there is the newest run alone"
        )
        raise NotFound(missing, field="run_id")
    return row


def found_cluster(connection: Connection, cluster_id: UUID) -> AnyRow:
    """The cluster of that id (row of `catalog.clusters.by_row_id`). Raises NotFound."""
    row = clusters.find_cluster(connection, cluster_id)
    if row is None:
        raise NotFound(f"no cluster {cluster_id}; those that ended are told by the run", field="cluster_id")
    return clusters.by_row_id(connection, [row.id])[row.id]


def cohesion(run: AnyRow, mean_distance: float) -> float | None:
    """How alike the members are: 1 where all are equal to the medoid, 0 where they are no nearer than by chance.

    None of copies, which are or are not.
    """
    if run.fingerprint == KEYPOINTS:
        return None
    return max(0.0, 1 - mean_distance / (BITS_OF[run.fingerprint] / 2))


def trends(connection: Connection, owners: Owners, wanted: Filter, *, weeks: int, last: dt.date) -> Trends:
    """Images by week, in so many weeks up to that of the day `last`."""
    newest = last - dt.timedelta(days=last.weekday())
    mondays = [newest - dt.timedelta(weeks=back) for back in reversed(range(weeks))]
    counts = occurrences.weekly(connection, owners, wanted, mondays[0], mondays[-1])
    return Trends(mondays, {owner: [by.get(day, 0) for day in mondays] for owner, by in counts.items()})


def draw_sheet(
    connection: Connection,
    pictures: Pictures,
    owners: Owners,
    wanted: Filter,
    *,
    most: int = SHEET_PICTURES,
) -> bytes:
    """The nearest images of one owner as a PNG, with their claims. Raises NotFound where there are none."""
    rows = occurrences.nearest_members(connection, owners, wanted, limit=most)
    shown = [(picture, row.claim_id) for row, picture in _shown(pictures, rows)]
    if not shown:
        raise NotFound("there are no images to show", field="labels")
    return contact_sheet(shown)


def draw_mean(connection: Connection, pictures: Pictures, owners: Owners, wanted: Filter) -> bytes:
    """The mean of the nearest 200 images of one owner as a PNG. Raises NotFound where there are none."""
    rows = occurrences.nearest_members(connection, owners, wanted, limit=MEAN_PICTURES)
    shown = (picture for _, picture in _shown(pictures, rows))
    first = next(shown, None)
    if first is None:
        raise NotFound("there are no images to show", field="labels")
    return mean_picture(chain([first], shown))


def _shown(pictures: Pictures, rows: Sequence[AnyRow]) -> Iterator[tuple[AnyRow, Image.Image]]:
    """Images with their renditions, but for those deleted between the look-up and here, and damaged ones."""
    renditions = pictures.read_renditions([row.image_id for row in rows])
    for row, rendition in zip(rows, renditions, strict=True):
        if rendition is None:
            continue
        try:
            picture = open_jpeg(rendition)
        except DamagedRenditionError as error:
            log.warning("image %s is not shown: %s", row.image_id, error)
        else:
            yield row, picture
