"""The images that templates are found in: one row a pair, as of the template's newest stamp."""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from app.catalog.rows import AnyRow

# Both sides are locked: templates against changes, images against deletion. Left out is what was found with a
# template as it was before a change, or in an image as it was before one: the scan or the screening that the change
# asks for finds it. What a crash of the database loses of it is found again with what is written after it: that an
# image is screened, or a scan done. So the disk is not waited for.
_STORE = text(
    "SET LOCAL synchronous_commit = off;"
    " WITH found AS ("
    "  SELECT template_id, stamp, image_id, distance, transform, CAST(region AS jsonb) AS region FROM unnest("
    "   CAST(:of_templates AS bigint[]), CAST(:stamps AS bigint[]), CAST(:of_images AS bigint[]),"
    "   CAST(:distances AS integer[]), CAST(:transforms AS text[]), CAST(:regions AS text[]))"
    "   AS n (template_id, stamp, image_id, distance, transform, region)"
    " ), compared AS ("
    "  SELECT id, change_seq FROM template WHERE id = ANY(CAST(:of_templates AS bigint[]))"
    "   AND deleted_at IS NULL AND enabled ORDER BY id FOR SHARE"
    " ), live AS ("
    "  SELECT id FROM image WHERE id = ANY(CAST(:of_images AS bigint[])) AND deleted_at IS NULL"
    "   AND change_seq <= :up_to ORDER BY id FOR KEY SHARE"
    " )"
    " INSERT INTO template_match (template_id, image_id, distance, transform, region)"
    " SELECT n.template_id, n.image_id, n.distance, n.transform, n.region"
    " FROM found n JOIN compared c ON c.id = n.template_id AND c.change_seq = n.stamp"
    "  JOIN live i ON i.id = n.image_id"
    " ORDER BY n.template_id, n.image_id"
    " ON CONFLICT (template_id, image_id) DO UPDATE SET distance = excluded.distance,"
    "  transform = excluded.transform, region = excluded.region"
)
# Nothing is written where nothing is to go. What a newer stamp of a template found is newer than what this sees;
# what a newer look at an image has put in place of what it sees stands in another place of the table.
_FORGET_OTHERS = text(
    "SET LOCAL synchronous_commit = off;"
    " WITH stale AS ("
    "  SELECT m.ctid AS place FROM template_match m JOIN template t ON t.id = m.template_id"
    "   JOIN unnest(CAST(:compared AS bigint[]), CAST(:compared_stamps AS bigint[])) AS c (id, stamp)"
    "    ON t.id = c.id AND t.change_seq = c.stamp"
    "   JOIN image i ON i.id = m.image_id AND i.change_seq <= :up_to"
    "  WHERE (CAST(:seqs AS bigint[]) IS NULL OR i.created_seq = ANY(CAST(:seqs AS bigint[])))"
    "   AND NOT EXISTS (SELECT FROM unnest(CAST(:of_templates AS bigint[]), CAST(:of_images AS bigint[]))"
    "    AS n (template_id, image_id) WHERE n.template_id = m.template_id AND n.image_id = m.image_id)"
    " )"
    " DELETE FROM template_match m USING stale s WHERE m.ctid = s.place"
)

_OF_IMAGE = text(
    "SELECT p.pending, found.* FROM (SELECT count(*) AS pending FROM template"
    " WHERE deleted_at IS NULL AND enabled AND scanned_seq IS DISTINCT FROM change_seq) p LEFT JOIN LATERAL ("
    " SELECT t.id, t.template_id, t.name, t.middle, t.spread, m.distance, m.region"
    " FROM template_match m JOIN template t ON t.id = m.template_id"
    " WHERE m.image_id = :id AND t.deleted_at IS NULL"
    ") found ON true ORDER BY found.distance, found.id"
)

MATCHES_AT_ONCE = 2000


@dataclass(frozen=True, slots=True)
class NewTemplateMatch:
    """One image that shows a template: row ids, bits, and the transform or the region of its rendition, if any."""

    template_id: int
    image_id: int
    distance: int
    transform: str | None
    region: dict[str, int] | None


@dataclass(frozen=True, slots=True)
class ShownTemplates:
    """The templates that one image shows, and how many were not compared with all images yet: it may show those."""

    rows: Sequence[AnyRow] = ()
    pending: int = 0


def store_template_matches(
    connection: Connection,
    compared: Sequence[tuple[int, int]],
    found: Sequence[NewTemplateMatch],
    *,
    up_to: int,
    seqs: Sequence[int] | None = None,
) -> None:
    """Make `found` all the matches of templates with the images of these stamps, or with all images.

    `compared` are the templates' row ids, each with the stamp that it was compared at. `up_to` is the newest change
    stamp that the images were read at: what changed later is left as it is. `connection` is in autocommit mode: a
    great many are stored in steps, for each of which others wait no longer than for an upload.
    """
    stamps = dict(compared)
    for begin in range(0, len(found), MATCHES_AT_ONCE):
        some = found[begin : begin + MATCHES_AT_ONCE]
        connection.execute(
            _STORE,
            {
                "of_templates": [match.template_id for match in some],
                "stamps": [stamps[match.template_id] for match in some],
                "of_images": [match.image_id for match in some],
                "distances": [match.distance for match in some],
                "transforms": [match.transform for match in some],
                "regions": [None if match.region is None else json.dumps(match.region) for match in some],
                "up_to": up_to,
            },
        )
    connection.execute(
        _FORGET_OTHERS,
        {
            "compared": list(stamps),
            "compared_stamps": list(stamps.values()),
            "seqs": seqs if seqs is None else list(seqs),
            "of_templates": [match.template_id for match in found],
            "of_images": [match.image_id for match in found],
            "up_to": up_to,
        },
    )


def templates_of(connection: Connection, image_row_id: int) -> ShownTemplates:
    """The templates that an image shows, nearest first."""
    rows = connection.execute(_OF_IMAGE, {"id": image_row_id}).all()
    return ShownTemplates([row for row in rows if row.template_id is not None], rows[0].pending)


def forget_template(connection: Connection, template_row_id: int) -> int:
    """Remove all matches of a template; return how many."""
    statement = text("DELETE FROM template_match WHERE template_id = :id")
    return connection.execute(statement, {"id": template_row_id}).rowcount


def forget_images(connection: Connection, ids: Sequence[int]) -> None:
    """Remove all matches of images that the same transaction deletes."""
    connection.execute(text("DELETE FROM template_match WHERE image_id = ANY(:ids)"), {"ids": list(ids)})
