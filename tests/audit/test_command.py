"""`claimprint report duplicates`, and audits of pictures that were really uploaded."""

import csv
import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from PIL import Image, ImageOps
from starlette.testclient import TestClient

from app.audit import read_audit
from app.catalog.filters import Filter
from app.cli import main
from app.parts import Parts
from app.settings import settings_from_environment
from tests.pictures import drawn, encoded, photo
from tests.web.api import upload, uploaded

Command = Callable[..., Result]


@pytest.fixture
def command(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on the database of the test."""
    monkeypatch.setenv("DATABASE_URL", parts.settings.database_url)
    monkeypatch.setenv("DATA_DIR", str(parts.settings.data_dir))
    settings_from_environment.cache_clear()
    yield lambda *words: CliRunner().invoke(main, ["report", "duplicates", *words], catch_exceptions=False)
    settings_from_environment.cache_clear()


@pytest.fixture
def repeated(client: TestClient) -> TestClient:
    """A photo in four claims, mirrored, cropped and recompressed; one twice in a claim; and two strangers."""
    base = photo("astronaut")
    cropped = base.crop((60, 40, 400, 380))
    for claim, picture in (("KD-1", base), ("KD-2", ImageOps.mirror(base)), ("KD-3", cropped)):
        labels = json.dumps({"plant": claim})
        assert upload(client, claim, encoded(picture), labels=labels).status_code == 201
    uploaded(client, "KD-4", encoded(base, quality=60))
    for quality in (90, 50):
        uploaded(client, "KD-5", encoded(photo("coffee"), quality=quality))
    for number in range(2):
        uploaded(client, f"KD-{6 + number}", encoded(drawn(number)))
    return client


def test_a_file_that_can_not_be_written_is_told(
    repeated: TestClient, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("app.audit.write_audit", refuse)
    done = command("--out", str(tmp_path / "audit.csv"))
    assert done.exit_code == 1
    assert "audit.csv can't be written: Permission denied" in done.stderr


def test_uploads_of_one_picture_are_a_family_however_edited(repeated: TestClient, parts: Parts) -> None:
    found = read_audit(parts.engine, Filter())
    assert [[member.claim_id for member in family.members] for family in found.families] == [
        ["KD-1", "KD-2", "KD-3", "KD-4"],
        ["KD-5", "KD-5"],
    ]
    assert (found.images, found.not_compared_yet, found.across) == (8, 0, 1)
    _, mirrored, cropped, again = [member.link for member in found.families[0].members]
    assert mirrored is not None
    assert (mirrored.kind, mirrored.transform, mirrored.to) == ("near_duplicate", "mirror", 0)
    assert cropped is not None
    assert (cropped.kind, cropped.to) == ("edited_copy", 0)
    assert cropped.lie is not None
    assert cropped.lie.share > 0.95
    assert 0.35 < cropped.lie.other_share < 0.55
    assert again is not None
    assert (again.kind, again.to) == ("near_duplicate", 0)


@pytest.mark.parametrize("form", ["html", "csv", "jsonl", "parquet"])
def test_command_writes_what_the_extension_says_and_a_summary(
    repeated: TestClient, command: Command, tmp_path: Path, form: str
) -> None:
    out = tmp_path / f"audit.{form.upper()}"
    done = command("--out", str(out))
    assert done.exit_code == 0, done.output
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "2 families, 1 of them across claims, with 6 images of 5 claims, as of 20" in line
    assert line.endswith("of 8 images 0 were not compared with all others yet")
    beginnings = {
        "html": b"<!doctype html>",
        "csv": b"\xef\xbb\xbffamily,",
        "jsonl": b'{"family": 1',
        "parquet": b"PAR1",
    }
    assert out.read_bytes().startswith(beginnings[form])
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == [out.name]


def test_command_reports_images_of_a_label_alone(
    repeated: TestClient, command: Command, tmp_path: Path
) -> None:
    out = tmp_path / "audit.csv"
    assert "0 families" in command("--out", str(out), "--label", "plant=KD-1").stderr
    assert list(csv.DictReader(io.StringIO(out.read_text("utf-8-sig")))) == []


def test_a_picture_that_was_lost_ends_no_report(
    repeated: TestClient, parts: Parts, command: Command, tmp_path: Path
) -> None:
    for path in parts.pictures.root.glob("??/*.rendition.jpg"):
        path.unlink()
    out = tmp_path / "audit.html"
    assert command("--out", str(out)).exit_code == 0
    assert out.read_text().count("its picture is not there") == 6


def test_command_refuses_an_extension_that_it_does_not_know(command: Command, tmp_path: Path) -> None:
    done = command("--out", str(tmp_path / "audit.xlsx"))
    assert done.exit_code == 1
    assert ".html, .csv, .jsonl or .parquet" in done.stderr
    assert list(tmp_path.glob("audit*")) == []


@pytest.mark.parametrize(
    "words",
    [["--out", "/no/where/a.csv"], ["--label", "plant"], ["--from", "2026-02-01", "--to", "2026-01-01"]],
)
def test_command_refuses_what_it_can_not_read(command: Command, tmp_path: Path, words: list[str]) -> None:
    out = [] if "--out" in words else ["--out", str(tmp_path / "a.csv")]
    done = command(*out, *words)
    assert done.exit_code == 2
    assert words[0] in done.output


def test_a_small_picture_is_not_enlarged(client: TestClient, command: Command, tmp_path: Path) -> None:
    for claim in ("KD-1", "KD-2"):
        upload(client, claim, encoded(photo("rocket").resize((90, 60)), "PNG"))
    out = tmp_path / "audit.html"
    assert "1 families" in command("--out", str(out)).stderr
    text = out.read_text()
    jpeg = text.partition('"jpeg":"')[2].partition('"')[0]
    import base64

    with Image.open(io.BytesIO(base64.b64decode(jpeg))) as thumbnail:
        assert thumbnail.size == (90, 60)
