"""An audit as plain values: what its files have in common. Times are aware, ids are texts."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from app.audit.families import Audit, Family, Link, Member
from app.audit.words import link_words, source_words

Row = dict[str, Any]


def family_row(audit: Audit, number: int, family: Family) -> Row:
    """A family, of which `number` begins with 1, with its images."""
    return {
        "family": number,
        "across_claims": family.across,
        "family_images": len(family.members),
        "family_claims": family.claims,
        "first_uploaded_at": family.first_upload,
        "first_day": family.first_day,
        "images": [image_row(family, place) for place in range(len(family.members))],
        "as_of": audit.as_of,
        "not_compared_yet": audit.not_compared_yet,
    }


def image_rows(audit: Audit) -> Iterator[Row]:
    """Every image of every family: the members of its family, but for the images, and its own."""
    for number, family in enumerate(audit.families, 1):
        whole = family_row(audit, number, family)
        images = whole.pop("images")
        for image in images:
            yield whole | image


def image_row(family: Family, place: int) -> Row:
    """One image of a family; `number` begins with 1."""
    member = family.members[place]
    return {
        "number": place + 1,
        "claim_id": member.claim_id,
        "image_id": str(member.image_id),
        "sha256": member.sha256.hex(),
        "file_name": member.file_name,
        "source": source_words(member.source),
        "uploaded_at": member.uploaded_at,
        "taken_at": member.taken_at,
        "day": member.day,
        "labels": dict(member.labels),
        "match": None if member.link is None else _match_row(member.link, family.members[member.link.to]),
    }


def _match_row(link: Link, other: Member) -> Row:
    return {
        "kind": link.kind,
        "number": link.to + 1,
        "claim_id": other.claim_id,
        "image_id": str(other.image_id),
        "transform": link.transform,
        "nearest": link.nearest,
        "distances": dict(link.distances),
        "words": link_words(link),
        "evidence": None if link.lie is None else asdict(link.lie),
    }
