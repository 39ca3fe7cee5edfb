"""Audits made by hand, as strange as what users send."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from app.audit.families import Audit, Family, Lie, Link, Member
from app.catalog.filters import Filter

UPLOADED = dt.datetime(2026, 11, 22, 9, 30, 0, 123456, dt.UTC)
HOSTILE = (
    "=cmd|'/c calc'!A1 </script><script>document.title='owned'</script><!--<script>"
    '<img src=x onerror=alert(1)>"&amp;\u2028\u0085|'
)
LIE = Lie(
    scale=0.62,
    angle=-12.25,
    mirrored=True,
    negative=False,
    region=[(0.0, 0.0), (512.0, 0.5), (300.0, 384.0)],
    other_region=[(10.0, 0.0), (20.0, 0.0), (20.0, 30.5)],
    share=0.34,
    other_share=0.8,
    inliers=61,
    close=74,
    score=-0.25,
    shift=0.14,
)
LINK = Link(0, "edited_copy", "mirror", 29, {"phash": 3, "verifier": 14}, LIE)
MEMBER = Member(
    image_id=UUID(int=1),
    claim_id="KD-1",
    sha256=bytes(range(32)),
    file_name="fridge.jpg",
    source=None,
    uploaded_at=UPLOADED,
    taken_at=None,
    day=dt.date(2026, 11, 20),
    labels={},
    size=(512, 384),
    link=None,
)


def family(claims: Sequence[str], link: Link = LINK, **told: object) -> Family:
    """Images of these claims, one a minute, each matched with the first."""
    members = [
        replace(
            MEMBER,
            image_id=UUID(int=1000 * hash_of(claims) + number),
            claim_id=claim,
            uploaded_at=UPLOADED + dt.timedelta(minutes=number),
            link=link if number else None,
            **told,
        )
        for number, claim in enumerate(claims)
    ]
    return Family(members, len(set(claims)))


def hash_of(claims: Sequence[str]) -> int:
    return sum(ord(letter) * place for place, letter in enumerate("".join(claims), 1))


def audit(*families: Family, not_compared_yet: int = 0) -> Audit:
    return Audit(UPLOADED, Filter(), 100, not_compared_yet, families)


STRANGE = audit(
    family(["KD-1", "KD-2", "KD-3"]),
    family(
        ["KD-4", "KD-5"],
        replace(LINK, kind="same_file", transform="identity", nearest=0, lie=None),
        file_name=HOSTILE,
        source={"path": "+in.zip", "within": [{"kind": "zip", "name": '@a,b\n".pdf', "position": 1}]},
        labels={"plant": "B", "count": -7, "new": True, "-x": "=1+1", "share": 0.5},
        taken_at=UPLOADED - dt.timedelta(days=400),
    ),
    family(["KD-6", "KD-6"], replace(LINK, lie=None), file_name="'quoted' ü 漢字.jpg"),
    not_compared_yet=3,
)
