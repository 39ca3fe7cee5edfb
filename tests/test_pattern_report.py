"""`claimprint patterns report`: what the page says is what is stored."""

import datetime as dt
import json
import time
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from app.catalog.filters import Filter
from app.cli import main
from app.errors import NotFound
from app.parts import Parts
from app.pattern_report import pattern_report
from app.report_page import Report
from app.settings import settings_from_environment
from tests.pictures import encoded, surface
from tests.web.api import finished, upload

JUNE = "2026-06-1"


def report(parts: Parts, wanted: Filter | None = None, run_id: UUID | None = None) -> Report:
    with parts.engine.connect() as connection:
        return pattern_report(
            connection, parts.pictures, wanted or Filter(), run_id=run_id, weeks=4, most_clusters=5
        )


@pytest.fixture
def scratched(client: TestClient) -> TestClient:
    """Six pictures of two surfaces, of two plants, their clusters, and a template of the first surface."""
    for number in range(6):
        picture = surface(number, period=(6, 16)[number % 2])
        labels = {"plant": "AB"[number % 2], "claimed_at": f"{JUNE}{number}"}
        assert upload(client, f"KD-{number}", encoded(picture), labels=json.dumps(labels)).status_code == 201
    job = finished(client, client.post("/clusters", json={"min_size": 2}).json()["job_id"])
    assert job["state"] == "succeeded", job
    file = {"file": ("t.png", encoded(surface(0, period=6)))}
    region = {"x": 0, "y": 0, "width": 320, "height": 240}
    named = {"name": "<b>rough</b>", "max_distance": "150", "region": json.dumps(region)}
    made = client.post("/templates", files=file, data=named)
    assert made.status_code == 201, made.text
    deadline = time.monotonic() + 30
    while not client.get(f"/templates/{made.json()['template_id']}").json()["compared"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return client


def test_report_tells_of_clusters_and_templates(scratched: TestClient, parts: Parts) -> None:
    found = report(parts)
    assert found.weeks == [dt.date(2026, 5, 25) + dt.timedelta(weeks=week) for week in range(4)]
    for section in found.clusters:
        assert section.images == sum(section.weekly)
        ((value, images),) = section.labels["plant"]
        assert (value in "AB", images) == (True, section.images)
        assert section.sheet is not None
        assert section.mean is not None
    (template,) = found.templates
    assert template.images >= 3
    assert dict(template.facts)["Fingerprint"] == "pattern, within 150 bits"


def test_report_of_a_filter_counts_its_images_alone(scratched: TestClient, parts: Parts) -> None:
    found = report(parts, Filter({"plant": "A"}))
    assert {tuple(section.labels["plant"]) for section in found.clusters} == {(("A", 3),)}


def test_report_without_a_run_has_templates_alone(client: TestClient, parts: Parts) -> None:
    found = report(parts)
    assert not found.clusters
    assert not found.templates


def test_report_of_a_run_that_is_not_there_is_an_error(client: TestClient, parts: Parts) -> None:
    with pytest.raises(NotFound):
        report(parts, run_id=UUID(int=1))


def test_command_writes_one_page(
    scratched: TestClient, parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", parts.settings.database_url)
    monkeypatch.setenv("DATA_DIR", str(parts.settings.data_dir))
    settings_from_environment.cache_clear()
    out = tmp_path / "report.html"
    try:
        done = CliRunner().invoke(
            main, ["patterns", "report", "--out", str(out), "--label", "plant=A"], catch_exceptions=False
        )
    finally:
        settings_from_environment.cache_clear()
    assert done.exit_code == 0, done.output
    page = out.read_text()
    assert "&lt;b&gt;rough&lt;/b&gt;" in page
    assert "<b>rough" not in page
    assert list(tmp_path.glob("*.new")) == []


@pytest.mark.parametrize(
    "words",
    [
        ["--label", "plant"],
        ["--weeks", "0"],
        ["--from", "June"],
        ["--run", "x"],
        ["--out", "/no/where/r.html"],
    ],
)
def test_command_refuses_what_it_can_not_read(tmp_path: Path, words: list[str]) -> None:
    out = [] if "--out" in words else ["--out", str(tmp_path / "r.html")]
    done = CliRunner().invoke(main, ["patterns", "report", *out, *words])
    assert done.exit_code == 2
    assert words[0] in done.output
