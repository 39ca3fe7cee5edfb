"""An audit as JSON lines: a family a line."""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any, BinaryIO

from app.audit.families import Audit
from app.audit.rows import family_row

# What many a reader takes for the end of a line, and JSON does not.
_BREAKS = {ord(each): f"\\u{ord(each):04x}" for each in "\x85\u2028\u2029"}


def write_jsonl(audit: Audit, file: BinaryIO, done: Callable[[int], None]) -> None:
    """Write the families in their order, in UTF-8; `done` is told how many there are."""
    for number, family in enumerate(audit.families, 1):
        line = json.dumps(family_row(audit, number, family), ensure_ascii=False, default=as_text)
        file.write(line.translate(_BREAKS).encode() + b"\n")
        done(number)


def as_text(value: Any) -> str:
    """A time, in UTC, or a day as ISO 8601 has it."""
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no text")
