"""What comes out of the inputs: pictures with the way that led to them, and what could not be taken."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Literal

from app.errors import ClaimprintError

Kind = Literal["zip", "tar", "message", "pdf"]

BETWEEN = " > "
"""What stands between the containers in `where`."""

LONGEST_TEXT = 4096
"""Characters kept of a name, as many as a path may have, or of a subject."""

_SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_OF_WINDOWS = {"desktop.ini", "thumbs.db", "ehthumbs.db"}


def as_text(name: str) -> str:
    """Return a name as one line that JSON, PostgreSQL and a terminal can take.

    Control characters become escapes, and so do bytes of a file name that are not UTF-8: two names that differ
    only in such bytes stay different.

    >>> as_text("front\\nside"), as_text(b"b\\xfcro.jpg".decode("utf-8", "surrogateescape"))
    ('front\\\\nside', 'b\\\\xfcro.jpg')
    """
    return "".join(c if c.isprintable() else _escaped(c) for c in name[:LONGEST_TEXT])


def _escaped(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # how Python carries a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    if code < 0x100:
        return " " if code == 0xA0 else f"\\x{code:02x}"
    # Spaces of other widths, and marks that join or turn text, are parts of real names.
    return f"\\u{code:04x}" if 0xD800 <= code <= 0xDFFF or code in {0x2028, 0x2029} else character


@dataclass(frozen=True, slots=True)
class Step:
    """One container on the way to a picture, and the place in it."""

    kind: Kind
    name: str
    """Of the member or attachment, as text; empty where it has none, as pictures on PDF pages."""
    position: int
    """From 1, among all members of the container; on a PDF page, among the pictures of that page."""
    page: int | None = None
    """From 1, of a picture on a page of a PDF."""
    subject: str | None = None
    """Of the message, as text, as are `sender` and `sent_at`; None for other containers, or if unknown."""
    sender: str | None = None
    sent_at: datetime | None = None
    """Timezone-aware."""

    @property
    def where(self) -> str:
        """The place in the container, for people."""
        if self.page is not None:
            return f"page {self.page}, picture {self.position}"
        return self.name or f"part {self.position}"

    def as_json(self) -> dict[str, Any]:
        """Return what is known, ready for JSON."""
        known: dict[str, Any] = {"kind": self.kind}
        if self.kind == "message":
            sent_at = self.sent_at.isoformat() if self.sent_at else None
            known |= {"subject": self.subject, "from": self.sender, "sent_at": sent_at}
        if self.page is not None:
            return known | {"page": self.page, "position": self.position}
        return known | {"name": self.name, "position": self.position}


@dataclass(frozen=True, slots=True)
class _Place:
    path: str
    """The input's name: a path or an address, as text."""
    steps: tuple[Step, ...]
    """From the input inwards; empty for what is an input itself."""

    @property
    def where(self) -> str:
        """One line: `mail.zip > inbox/7.msg > letter.pdf > page 2, picture 1`."""
        return BETWEEN.join((self.path, *(step.where for step in self.steps)))

    @property
    def file_name(self) -> str:
        """The name of the file without its folders, as text; a picture in a PDF is named after the PDF."""
        name = file_names(self)[0]
        last = self.steps[-1] if self.steps else None
        return name if last is None or last.name else f"{name}, {last.where}"

    @property
    def message(self) -> Step | None:
        """The innermost message on the way."""
        return next((step for step in reversed(self.steps) if step.kind == "message"), None)

    @property
    def subject(self) -> str | None:
        """Of the innermost message."""
        return self.message.subject if self.message else None

    @property
    def sent_at(self) -> datetime | None:
        """When the innermost message was sent, timezone-aware."""
        return self.message.sent_at if self.message else None

    @property
    def source(self) -> dict[str, Any]:
        """What the column `image.source` holds."""
        source: dict[str, Any] = {"path": self.path}
        if self.steps:
            source["within"] = [step.as_json() for step in self.steps]
        return source


@dataclass(frozen=True, slots=True)
class Found(_Place):
    """What is, or claims to be, a picture: at most `max_file_bytes` bytes, and where they came from."""

    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Skipped(_Place):
    """A member that is neither a picture nor a container: a text, a signature, a part of an office file."""


@dataclass(frozen=True, slots=True)
class Refused(_Place):
    """An input, or a member of one, that can't be taken; an Unavailable may go away by itself."""

    error: ClaimprintError


def file_names(place: _Place) -> Sequence[str]:
    """Return the names of the files on the way, innermost first, without folders."""
    names = [step.name for step in reversed(place.steps) if step.name]
    return [last_part(name) for name in (*names, place.path)]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is none of the user's: hidden, or what Windows puts into folders."""
    return name.startswith(".") or name.lower() in _OF_WINDOWS


def last_part(name: str) -> str:
    """Return a name without its folders, which may be written the Windows way."""
    return PurePosixPath(name.replace("\\", "/") if "/" not in name else name).name or name
