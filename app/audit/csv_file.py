"""An audit as CSV for spreadsheets: an image a line."""

import csv
import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any, BinaryIO

from app.audit.families import Audit
from app.audit.jsonl_file import as_text
from app.audit.rows import Row, image_rows

# Excel reads UTF-8 as such only behind this mark.
_MARK = "\ufeff"
# What a spreadsheet takes for the beginning of a formula, full-width forms too; an apostrophe before it makes it a
# text. One that is there already gets another, so that the first can always be taken off.
_FORMULA = frozenset("=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20")
_OF_FAMILY = (
    "family",
    "across_claims",
    "family_images",
    "family_claims",
    "first_uploaded_at",
    "first_day",
)
_OF_IMAGE = (
    "number",
    "claim_id",
    "image_id",
    "sha256",
    "file_name",
    "source",
    "uploaded_at",
    "taken_at",
    "day",
    "labels",
)
_OF_MATCH = (
    "kind",
    "number",
    "claim_id",
    "image_id",
    "transform",
    "nearest",
    "distances",
    "words",
)
_OF_EVIDENCE = (
    "scale",
    "angle",
    "mirrored",
    "negative",
    "region",
    "other_region",
    "share",
    "other_share",
    "inliers",
    "close",
    "score",
    "shift",
)
_OF_AUDIT = ("as_of", "not_compared_yet")
COLUMNS = (
    *_OF_FAMILY,
    *_OF_IMAGE,
    *(f"match_{name}" for name in _OF_MATCH),
    *(f"evidence_{name}" for name in _OF_EVIDENCE),
    *_OF_AUDIT,
)


def write_csv(audit: Audit, file: BinaryIO, done: Callable[[int], None]) -> None:
    """Write all images in the order of their families, in UTF-8; `done` is told how many families there are.

    Labels, distances and corners are JSON. Texts that a spreadsheet would compute begin with an apostrophe.
    """
    text = io.TextIOWrapper(file, "utf-8", newline="", write_through=True)
    text.write(_MARK)
    lines = csv.writer(text)
    lines.writerow(COLUMNS)
    for row in image_rows(audit):
        lines.writerow(_cells(row))
        done(row["family"])
    text.detach()


def _cells(row: Row) -> list[str]:
    match = row["match"] or {}
    evidence = match.get("evidence") or {}
    values = [row[name] for name in (*_OF_FAMILY, *_OF_IMAGE)]
    values += [match.get(name) for name in _OF_MATCH]
    values += [evidence.get(name) for name in _OF_EVIDENCE]
    return [_cell(value) for value in (*values, *(row[name] for name in _OF_AUDIT))]


def _cell(value: Any) -> str:
    """One value as text.

    >>> _cell("=1+1"), _cell(-3.5), _cell(None), _cell({"plant": "B"})
    ("'=1+1", '-3.5', '', '{"plant": "B"}')
    """
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value[:1] in _FORMULA else value
    if isinstance(value, dt.date):
        return as_text(value)
    return json.dumps(value, ensure_ascii=False)
