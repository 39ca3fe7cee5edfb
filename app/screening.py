"""Comparing stored images with all earlier ones, and reading what was found."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from sqlalchemy import Connection, Engine

from app.catalog import images, matches, session
from app.catalog.rows import AnyRow
from app.catalog.template_matches import ShownTemplates, templates_of
from app.collection import Collection, TableIndex
from app.fingerprints.value import COLUMN_OF, VERIFIER, colour_code_from_bytes, turned_from_bytes
from app.matching.kinds import KINDS, PROPOSING_HASHES, RULE_VERSION, Picture, Rule, compare_many
from app.recognition import recognise

MATCHES_IN_ANSWER = 100
# Verdicts beside the kinds of matching.kinds.
PENDING = "pending"
NO_VERDICT = "none"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told of one stored image: its row, its matches best first, its verdict, and whether it is new."""

    row: AnyRow
    matches: matches.MatchPage
    verdict: str
    created: bool = False
    templates: ShownTemplates = field(default_factory=ShownTemplates)


def screen(engine: Engine, collection: Collection, rule: Rule, seqs: Sequence[int]) -> None:
    """Screen the images with these stamps, wherever they were committed; deleted ones are passed over."""
    with session.autocommit(engine) as connection:
        screen_rows(connection, collection, rule, images.to_compare(connection, seqs))


def screen_rows(
    connection: Connection, collection: Collection, rule: Rule, rows: Sequence[AnyRow]
) -> set[int]:
    """Find and store the matches of committed images (columns COMPARED), each against all before it.

    And the templates that they show. Return the row ids of those that have any of either. Idempotent: doing it
    again stores the same. `connection` is in autocommit mode.
    """
    # After the commit of every row and before the search: this order is the promise.
    index = collection.caught_up(connection, committed=max((row.created_seq for row in rows), default=0))
    found = [match for row in rows for match in _earlier_matches(connection, index, rule, row)]
    showing = recognise(connection, index.templates, [row.created_seq for row in rows])
    # Last, for it marks the images as screened.
    read_at = max((row.change_seq for row in rows), default=0)
    matches.store_screening(connection, [row.id for row in rows], found, up_to=read_at)
    return showing.union(*((match.later_id, match.earlier_id) for match in found))


def _earlier_matches(
    connection: Connection, index: TableIndex, rule: Rule, row: AnyRow
) -> list[matches.NewMatch]:
    query = _picture(row, turned_from_bytes(row.turned))
    proposed = propose(index, query, rule, before=row.created_seq)
    others = images.earlier_candidates(connection, row, proposed)
    findings = compare_many(
        query, [_picture(other, turned_from_bytes(other.turned, rows=1)) for other in others], rule
    )
    return [
        matches.NewMatch(
            earlier_id=other.id,
            later_id=row.id,
            kind=finding.kind,
            rank=finding.rank,
            nearest=finding.nearest,
            distances=finding.distances,
            transform=finding.transform,
            rule_version=RULE_VERSION,
        )
        for other, finding in zip(others, findings, strict=True)
        if finding is not None
    ]


def propose(index: TableIndex, query: Picture, rule: Rule, *, before: int) -> list[int]:
    """Stamps of images that a proposing hash finds and the verifier agrees to, in one of the eight orientations.

    Decided in memory: on a large collection the hashes propose hundreds of strangers for every copy.
    """
    if query.low_information:
        return []
    found = []
    for name in PROPOSING_HASHES:
        near = index.indexes[name].within_many(query.turned[:, COLUMN_OF[name]], rule.near)
        earlier = near.ids < before
        seqs, transforms = near.ids[earlier], near.queries[earlier]
        bits = index.verifiers.distances(seqs, query.turned[transforms, VERIFIER])
        found.append(seqs[bits <= rule.verifier_for(index.verifiers.pages(seqs) & query.page)])
    return list(map(int, np.unique(np.concatenate(found))))


def answer_image(connection: Connection, row: AnyRow, *, screened: bool = False) -> Answer:
    """Read the matches of a live image (row of `catalog.images.SHOWN`).

    `screened` tells that the image was screened after the row was read.
    """
    page = matches.matches_of(connection, image_row_id=row.id, claim_id=row.claim_id, limit=MATCHES_IN_ANSWER)
    verdict = verdict_of(page, screened=screened or row.screened_at is not None)
    return Answer(row, page, verdict, templates=templates_of(connection, row.id))


def verdict_of(page: matches.MatchPage, *, screened: bool) -> str:
    """Strongest kind of match against other claims, "none", or "pending" until the image is screened."""
    if not screened:
        return PENDING
    return NO_VERDICT if page.verdict_rank is None else KINDS[page.verdict_rank]


def _picture(row: AnyRow, turned: np.ndarray) -> Picture:
    code = row.colour_code
    return Picture(
        sha256=bytes(row.sha256),
        pixel_sha256=bytes(row.pixel_sha256),
        low_information=row.status == "low_information",
        turned=turned,
        page=bool(row.page),  # of an image from before it was looked for: not known to be one
        colour_code=None if code is None else colour_code_from_bytes(code),
    )
