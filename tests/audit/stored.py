"""Rows of images and matches for audits: no pixels, but for those that are uploaded."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from sqlalchemy import Connection, Engine, text

from app.audit.families import Audit
from app.audit.reading import read_audit
from app.catalog import session
from app.catalog.filters import Filter
from app.catalog.new_images import insert_images
from app.matching.kinds import KINDS
from tests.rows import new_image

EVERYTHING = Filter()
Edge = tuple[int, int, str, int]
"""Places of two images, the earlier first; kind; nearest."""


def add(engine: Engine, claims: Sequence[str], **told: Any) -> list[UUID]:
    """Store and mark as compared an image for each claim, in this order; their ids."""
    new = [
        replace(new_image(np.zeros((8, 9), np.uint64), claim_id=claim, image_id=uuid4()), **told)
        for claim in claims
    ]
    with session.autocommit(engine) as connection:
        for each in new:
            insert_images(connection, [each])
        connection.execute(text("UPDATE image SET screened_at = clock_timestamp()"))
    return [each.image_id for each in new]


def join(connection: Connection, images: Sequence[UUID], edges: Iterable[Edge], **told: Any) -> None:
    """Store matches in the order they come in."""
    for earlier, later, kind, nearest in edges:
        connection.execute(
            text(
                "INSERT INTO match (match_id, earlier_id, later_id, kind, rank, nearest, distances, transform,"
                " evidence, rule_version) SELECT gen_random_uuid(), e.id, l.id, :kind, :rank, :nearest,"
                " jsonb_build_object('verifier', CAST(:nearest AS integer)), :transform,"
                " CAST(:evidence AS jsonb), 6"
                " FROM image e, image l WHERE e.image_id = :earlier AND l.image_id = :later"
            ),
            {
                "kind": kind,
                "rank": KINDS.index(kind),
                "nearest": nearest,
                "transform": told.get("transform", "identity"),
                "evidence": json.dumps(told.get("evidence", {})),
                "earlier": images[earlier],
                "later": images[later],
            },
        )


def joined(engine: Engine, claims: Sequence[str], edges: Iterable[Edge], **told: Any) -> list[UUID]:
    """Store images and their matches; the images' ids."""
    images = add(engine, claims)
    with engine.begin() as connection:
        join(connection, images, edges, **told)
    return images


def audited(engine: Engine, wanted: Filter = EVERYTHING) -> Audit:
    return read_audit(engine, wanted)


def partition(audit: Audit) -> list[list[UUID]]:
    """Ids of the images of each family, in the order of the report."""
    return [[member.image_id for member in family.members] for family in audit.families]
