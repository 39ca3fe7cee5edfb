"""An audit as one HTML page that needs nothing beside it, whatever the number of families.

Families are inert until they are looked at: each is JSON in an element of its own, which the page's one script
reads when it shows it. The script is allowed by its hash, and makes nothing but elements and texts.
"""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import Any, BinaryIO

from app.audit.families import Audit, Family
from app.audit.jsonl_file import as_text
from app.audit.rows import image_row
from app.audit.thumbnails import thumbnail
from app.audit.words import KINDS
from app.pages import PAGES
from app.storage import Pictures

MOST_THUMBNAILS = 12
"""Of one family."""
MOST_THUMBNAIL_BYTES = 400_000_000
"""Of all, as they stand in the page: a browser opens that in some seconds. The first families have them."""

_LEFT_OUT = "its thumbnail is left out: this page has as many as a browser can take"


def write_page(audit: Audit, pictures: Pictures, file: BinaryIO, done: Callable[[int], None]) -> None:
    """Write the page family by family; `done` is told how many there are.

    Any text of the audit is shown as it is. A picture that can't be shown is a grey box that says why.
    """
    script = files("app.pages").joinpath("audit.js").read_text("utf-8")
    page = PAGES.get_template("audit.html").generate(
        audit=audit,
        wanted=audit.wanted.words,
        kinds=KINDS,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        index=_inert([_entry(family) for family in audit.families]),
        blocks=_blocks(audit, pictures, done),
    )
    for piece in page:
        file.write(piece.encode())


def _entry(family: Family) -> list[Any]:
    """What families are chosen by: the kinds and the claims in them."""
    kinds = {member.link.kind for member in family.members if member.link is not None}
    return [sorted(kinds), sorted({member.claim_id for member in family.members})]


def _blocks(audit: Audit, pictures: Pictures, done: Callable[[int], None]) -> Iterator[tuple[int, str]]:
    """For each family its number and its JSON."""
    room = MOST_THUMBNAIL_BYTES
    for number, family in enumerate(audit.families, 1):
        images = []
        for place, member in enumerate(family.members):
            told = image_row(family, place) | {"size": member.size}
            if place < MOST_THUMBNAILS:
                drawn = thumbnail(pictures, member.image_id) if room > 0 else _LEFT_OUT
                if isinstance(drawn, bytes):
                    told["jpeg"] = base64.b64encode(drawn).decode("ascii")
                    room -= len(told["jpeg"])
                else:
                    told["without"] = drawn
            images.append({name: value for name, value in told.items() if value is not None})
        whole = {
            "claims": family.claims,
            "first_uploaded_at": family.first_upload,
            "first_day": family.first_day,
            "images": images,
        }
        yield number, _inert(whole)
        done(number)


def _inert(value: Any) -> str:
    """JSON that ends no element, in ASCII: a browser keeps that in half the memory."""
    return json.dumps(value, default=as_text, separators=(",", ":")).replace("<", "\\u003c")
