"""The files of an audit hold the same, each in its own way."""

import csv
import datetime as dt
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.audit import write_audit
from app.audit.families import Audit
from app.audit.writing import FORMATS, format_of
from app.errors import InvalidValue, StorageFull
from app.storage.local import LocalPictures
from tests.audit.made import HOSTILE, STRANGE, audit, family

Write = Callable[[Audit, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an audit as a format; the file."""

    def write(of: Audit, form: str) -> Path:
        out = tmp_path / f"audit.{form}"
        write_audit(of, LocalPictures(tmp_path / "pictures"), out, form)
        return out

    return write


def of_jsonl(path: Path) -> list[dict[str, Any]]:
    """A row for each image, the family's members in it."""
    families = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [told | image for told in families for image in told.pop("images")]


def of_csv(path: Path) -> list[dict[str, Any]]:
    """The same, read from cells by what they hold."""
    found = []
    for line in csv.DictReader(io.StringIO(path.read_text("utf-8-sig"), newline="")):
        cells = {name: _value(name, cell) for name, cell in line.items()}
        match = _without(cells, "match_")
        evidence = _without(cells, "evidence_")
        match["evidence"] = evidence if evidence["scale"] is not None else None
        found.append(cells | {"match": match if match["kind"] is not None else None})
    return found


def _without(cells: dict[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): cells.pop(name) for name in list(cells) if name.startswith(prefix)}


TEXTS = {"claim_id", "image_id", "sha256", "file_name", "source", "uploaded_at", "taken_at", "day", "as_of"}
TEXTS |= {"first_uploaded_at", "first_day", "match_kind", "match_claim_id", "match_image_id"}
TEXTS |= {"match_transform", "match_words"}


def _value(name: str, cell: str) -> Any:
    if name in TEXTS:
        text = cell.removeprefix("'")
        return (
            None
            if cell == "" and name in ("taken_at", *(each for each in TEXTS if "match" in each))
            else text
        )
    return json.loads(cell) if cell else None


def of_parquet(path: Path) -> list[dict[str, Any]]:
    """The same, times and days as texts."""
    return [_plain(row) for row in pq.read_table(path).to_pylist(maps_as_pydicts="strict")]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return value.isoformat() if isinstance(value, dt.date) else value


def label_texts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Labels as a table of texts has them."""
    for row in rows:
        row["labels"] = {
            name: value if isinstance(value, str) else json.dumps(value)
            for name, value in row["labels"].items()
        }
    return rows


def test_csv_jsonl_and_parquet_hold_the_same(write: Write) -> None:
    lines = of_jsonl(write(STRANGE, "jsonl"))
    assert of_csv(write(STRANGE, "csv")) == lines
    assert of_parquet(write(STRANGE, "parquet")) == label_texts(lines)
    assert [row["number"] for row in lines] == [1, 2, 3, 1, 2, 1, 2]


def test_jsonl_has_a_family_a_line(write: Write) -> None:
    first, second, third = map(json.loads, write(STRANGE, "jsonl").read_text().splitlines())
    assert (first["family"], first["across_claims"], first["family_images"], first["family_claims"]) == (
        1,
        True,
        3,
        3,
    )
    assert first["first_uploaded_at"] == "2026-11-22T09:30:00.123456Z"
    assert second["images"][0]["file_name"] == HOSTILE
    assert second["images"][1]["match"]["words"] == "same file as image 1"
    assert third["across_claims"] is False
    assert {each["not_compared_yet"] for each in (first, second, third)} == {3}


def test_csv_is_utf_8_that_excel_knows_as_such(write: Write) -> None:
    data = write(STRANGE, "csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbffamily,")
    assert "漢字".encode() in data
    assert b"\r\n" in data


def test_no_cell_of_a_csv_is_a_formula(write: Write) -> None:
    text = write(STRANGE, "csv").read_text("utf-8-sig")
    rows = list(csv.reader(io.StringIO(text, newline="")))
    begins = {cell[0] for row in rows for cell in row if cell and not _is_number(cell)}
    assert not begins & set("=+-@\t\r\n")
    assert any(cell == f"'{HOSTILE}" for row in rows for cell in row)
    assert any(cell == "''quoted' ü 漢字.jpg" for row in rows for cell in row)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_parquet_is_typed(write: Write) -> None:
    schema = pq.read_schema(write(STRANGE, "parquet"))
    assert schema.field("uploaded_at").type == pa.timestamp("us", tz="UTC")
    assert schema.field("day").type == pa.date32()
    assert schema.field("labels").type == pa.map_(pa.string(), pa.string())
    assert pa.types.is_struct(schema.field("match").type)


def test_parquet_is_written_in_row_groups(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.audit.parquet_file.ROWS_AT_ONCE", 3)
    path = write(STRANGE, "parquet")
    assert pq.ParquetFile(path).num_row_groups == 3
    assert len(of_parquet(path)) == 7


def test_parquet_without_a_family_tells_the_moment_too(write: Write) -> None:
    path = write(audit(not_compared_yet=5), "parquet")
    assert pq.read_table(path).num_rows == 0
    told = pq.read_schema(path).metadata
    assert told[b"as_of"] == b"2026-11-22T09:30:00.123456+00:00"
    assert told[b"not_compared_yet"] == b"5"


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_audit_gives_the_same_file(write: Write, form: str) -> None:
    assert write(STRANGE, form).read_bytes() == write(STRANGE, form).read_bytes()


@pytest.mark.parametrize("form", FORMATS)
def test_a_file_that_can_not_be_finished_leaves_the_one_before(tmp_path: Path, form: str) -> None:
    out = tmp_path / f"audit.{form}"
    out.write_text("before")

    def broken(_families: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageFull, match=f"audit.{form} was not written"):
        write_audit(STRANGE, LocalPictures(tmp_path / "pictures"), out, form, broken)
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [out.name]


@pytest.mark.parametrize("form", FORMATS)
def test_progress_is_told_in_families(tmp_path: Path, form: str) -> None:
    told: list[int] = []
    out = tmp_path / f"audit.{form}"
    write_audit(STRANGE, LocalPictures(tmp_path / "pictures"), out, form, told.append)
    assert told[-1] == 3
    assert told == sorted(told)


@pytest.mark.parametrize("name", ["audit", "audit.txt", "audit.html.gz", ".html"])
def test_another_extension_is_refused_with_the_four_that_are_known(name: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        format_of(Path(name))
    assert all(f".{form}" in caught.value.message for form in FORMATS)


def test_a_label_of_a_parquet_file_can_be_asked_for_as_text(write: Write) -> None:
    path = write(audit(family(["KD-1", "KD-2"], labels={"plant": "B", "count": 7})), "parquet")
    assert of_parquet(path)[0]["labels"] == {"plant": "B", "count": "7"}
