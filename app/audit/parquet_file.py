"""An audit as a Parquet table: an image a row."""

import json
from collections.abc import Callable
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from app.audit.families import Audit
from app.audit.rows import Row, image_rows

ROWS_AT_ONCE = 10_000

_TIME = pa.timestamp("us", tz="UTC")
_CORNERS = pa.list_(pa.list_(pa.float64(), 2))
_EVIDENCE = pa.struct(
    {
        "scale": pa.float64(),
        "angle": pa.float64(),
        "mirrored": pa.bool_(),
        "negative": pa.bool_(),
        "region": _CORNERS,
        "other_region": _CORNERS,
        "share": pa.float64(),
        "other_share": pa.float64(),
        "inliers": pa.int32(),
        "close": pa.int32(),
        "score": pa.float64(),
        "shift": pa.float64(),
    }
)
_MATCH = pa.struct(
    {
        "kind": pa.string(),
        "number": pa.int32(),
        "claim_id": pa.string(),
        "image_id": pa.string(),
        "transform": pa.string(),
        "nearest": pa.int32(),
        "distances": pa.map_(pa.string(), pa.int32()),
        "words": pa.string(),
        "evidence": _EVIDENCE,
    }
)
SCHEMA = pa.schema(
    {
        "family": pa.int32(),
        "across_claims": pa.bool_(),
        "family_images": pa.int32(),
        "family_claims": pa.int32(),
        "first_uploaded_at": _TIME,
        "first_day": pa.date32(),
        "number": pa.int32(),
        "claim_id": pa.string(),
        "image_id": pa.string(),
        "sha256": pa.string(),
        "file_name": pa.string(),
        "source": pa.string(),
        "uploaded_at": _TIME,
        "taken_at": _TIME,
        "day": pa.date32(),
        "labels": pa.map_(pa.string(), pa.string()),
        "match": _MATCH,
        "as_of": _TIME,
        "not_compared_yet": pa.int32(),
    }
)


def write_parquet(audit: Audit, file: BinaryIO, done: Callable[[int], None]) -> None:
    """Write all images in the order of their families, in row groups; `done` is told how many families there are.

    A label's value is its text, of numbers and booleans their JSON. What is of the audit as a whole is in the
    schema's metadata too, which a file without rows has as well.
    """
    told = {"as_of": audit.as_of.isoformat(), "not_compared_yet": str(audit.not_compared_yet)}
    rows = map(_flat, image_rows(audit))
    with pq.ParquetWriter(file, SCHEMA.with_metadata(told), compression="zstd") as writer:
        while some := list(islice(rows, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=SCHEMA.with_metadata(told)))
            done(some[-1]["family"])


def _flat(row: Row) -> Row:
    """The row with its maps as Arrow takes them: pairs."""
    match = row["match"]
    if match is not None:
        match = match | {"distances": list(match["distances"].items())}
    return row | {
        "labels": [(name, _text(value)) for name, value in row["labels"].items()],
        "match": match,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
