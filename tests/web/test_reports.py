"""`/reports`: a job writes the file, which can then be fetched for a week."""

import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.catalog import jobs
from app.jobs import keeper, report
from app.jobs.apart import done_apart
from app.parts import Parts
from tests.audit.stored import joined
from tests.web.api import assert_problem, finished

MakeKey = Callable[..., str]


def using(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.fixture
def two_families(client: TestClient, engine: Engine) -> TestClient:
    """Two images of two claims, and two of one."""
    edges = [(0, 1, "near_duplicate", 3), (2, 3, "same_file", 0)]
    joined(engine, ["KD-1", "KD-2", "KD-3", "KD-3"], edges, transform="mirror")
    return client


def reported(client: TestClient, **body: Any) -> Any:
    """Have a job report; its members."""
    response = client.post("/reports/duplicates", json=body)
    assert response.status_code == 202, response.text
    job = finished(client, response.json()["job_id"])
    assert job["state"] == "succeeded", job
    assert response.headers["location"] == f"/jobs/{job['job_id']}"
    return job


def files(parts: Parts) -> list[str]:
    return sorted(path.name for path in parts.reports.root.iterdir())


@pytest.mark.parametrize(
    ("form", "media_type", "begins"),
    [
        ("html", "text/html; charset=utf-8", b"<!doctype html>"),
        ("csv", "text/csv; charset=utf-8", b"\xef\xbb\xbffamily,"),
        ("jsonl", "application/jsonl", b'{"family": 1'),
        ("parquet", "application/vnd.apache.parquet", b"PAR1"),
    ],
)
def test_job_writes_a_report_that_can_be_fetched(
    two_families: TestClient, parts: Parts, form: str, media_type: str, begins: bytes
) -> None:
    job = reported(two_families, format=form)
    result = job["result"]
    assert (result["families"], result["across_claims"], result["images"], result["claims"]) == (2, 1, 4, 3)
    assert (result["looked_at"], result["not_compared_yet"], result["format"]) == (4, 0, form)
    response = two_families.get(f"/reports/{job['job_id']}")
    assert response.status_code == 200
    assert response.headers["content-type"] == media_type
    assert response.headers["content-disposition"] == (
        f'attachment; filename="duplicates-{result["as_of"][:10]}.{form}"'
    )
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "private, no-store"
    assert response.content.startswith(begins)
    assert len(response.content) == result["file_bytes"] == int(response.headers["content-length"])
    assert files(parts) == [f"{job['job_id']}.{form}"]


def test_report_without_a_body_is_a_page_of_everything(two_families: TestClient) -> None:
    job = finished(two_families, two_families.post("/reports/duplicates").json()["job_id"])
    assert job["params"] == {"format": "html", "filter": {}}
    assert two_families.get(f"/reports/{job['job_id']}").text.startswith("<!doctype html>")


def test_report_of_labels_and_days_is_of_their_images_alone(two_families: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("""UPDATE image SET labels = '{"plant": "B"}' WHERE claim_id = 'KD-3'"""))
    job = reported(two_families, format="jsonl", labels={"plant": "B"}, **{"from": "2020-01-01"})
    (line,) = two_families.get(f"/reports/{job['job_id']}").text.splitlines()
    assert [image["claim_id"] for image in json.loads(line)["images"]] == ["KD-3", "KD-3"]


def test_report_of_nothing_is_a_file_too(client: TestClient, tmp_path: Path) -> None:
    job = reported(client, format="parquet")
    path = tmp_path / "fetched.parquet"
    path.write_bytes(client.get(f"/reports/{job['job_id']}").content)
    assert pq.read_table(path).num_rows == 0
    assert job["result"]["families"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"format": "xlsx"}, "format"),
        ({"form": "csv"}, "form"),
        ({"labels": {"a": [1]}}, "labels.a"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "from"),
        ({"from": "June"}, "from"),
    ],
)
def test_what_can_not_be_reported_is_refused(client: TestClient, body: dict[str, Any], field: str) -> None:
    assert_problem(client.post("/reports/duplicates", json=body), 422, field)


def test_report_is_for_quality_control_and_not_for_portals(
    two_families: TestClient, make_key: MakeKey
) -> None:
    job = reported(two_families, format="csv")
    portal, quality_control = using(make_key("portal")), using(make_key("qc"))
    assert_problem(two_families.post("/reports/duplicates", headers=portal), 403)
    assert_problem(two_families.get(f"/reports/{job['job_id']}", headers=portal), 403)
    for path in (f"/reports/{job['job_id']}", f"/jobs/{job['job_id']}"):
        assert two_families.get(path, headers=quality_control).status_code == 200
    assert two_families.post("/reports/duplicates", headers=quality_control).status_code == 202


def test_report_that_is_not_ready_is_a_conflict(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        job = jobs.create_job(
            connection, kind=report.DUPLICATES, params={"format": "csv", "filter": {}}, requested_by="test"
        )
        connection.execute(text("UPDATE job SET state = 'running', heartbeat_at = clock_timestamp()"))
    assert "running" in assert_problem(client.get(f"/reports/{job.job_id}"), 409, "job_id")["detail"]
    assert str(job.job_id) in assert_problem(client.post("/reports/duplicates"), 409)["detail"]
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET state = 'failed'"))
    assert "failed" in assert_problem(client.get(f"/reports/{job.job_id}"), 409)["detail"]


def test_report_of_no_job_or_of_another_kind_is_not_found(client: TestClient) -> None:
    assert_problem(client.get(f"/reports/{uuid4()}"), 404, "job_id")
    assert_problem(client.get("/reports/..%2Fpictures"), 404)
    assert_problem(client.get("/reports/x"), 404, "job_id")
    job = finished(client, client.post("/clusters").json()["job_id"])
    assert_problem(client.get(f"/reports/{job['job_id']}"), 404, "job_id")


def test_report_is_kept_for_a_week(two_families: TestClient, parts: Parts) -> None:
    first, second = (reported(two_families, format=form)["job_id"] for form in ("csv", "jsonl"))
    week_ago = time.time() - report.REPORT_KEPT_SECONDS
    for job_id, written in ((first, week_ago - 60), (second, week_ago + 3600)):
        (path,) = parts.reports.root.glob(f"{job_id}.*")
        os.utime(path, (written, written))
    assert parts.reports.erase_old(report.REPORT_KEPT_SECONDS) == 1
    assert "not kept" in assert_problem(two_families.get(f"/reports/{first}"), 404)["detail"]
    assert two_families.get(f"/reports/{second}").status_code == 200


def test_a_report_is_gone_with_the_first_image_that_is_deleted_after_it(
    two_families: TestClient, parts: Parts, engine: Engine
) -> None:
    before = reported(two_families, format="csv")["job_id"]
    image = two_families.get("/claims/KD-1/images").json()["images"][0]
    assert two_families.delete(f"/images/{image['image_id']}").status_code == 204
    assert "deleted since" in assert_problem(two_families.get(f"/reports/{before}"), 404)["detail"]
    with engine.begin() as connection:  # as if it had been a while ago
        connection.execute(
            text("UPDATE image SET deleted_at = now() - interval '90 s' WHERE deleted_at IS NOT NULL")
        )
        connection.execute(
            text("UPDATE job SET result = result || jsonb_build_object('as_of', now() - interval '1 hour')")
        )
    after = reported(two_families, format="csv")["job_id"]
    (parts.reports.root / ".nfs0001").write_bytes(b"")
    report.erase_reports(engine, parts.reports)
    assert files(parts) == [".nfs0001", f"{after}.csv"]
    assert two_families.get(f"/reports/{after}").status_code == 200


def test_sweep_erases_what_a_runner_that_died_was_writing(parts: Parts) -> None:
    left = parts.reports.unfinished(uuid4(), uuid4())
    left.write_text("half")
    assert parts.reports.erase_old(report.REPORT_KEPT_SECONDS) == 0
    os.utime(left, (0, 0))
    keeper.Keeper(parts)._sweep_once()
    assert files(parts) == []


def test_who_asked_for_a_report_and_who_fetched_it_is_logged(
    two_families: TestClient, engine: Engine
) -> None:
    job = reported(two_families, format="csv")
    two_families.get(f"/reports/{job['job_id']}")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM event WHERE action LIKE 'report%' ORDER BY id")).all()
    assert [(row.action, row.subject) for row in rows] == [
        ("report.duplicates", job["job_id"]),
        ("report.fetch", job["job_id"]),
    ]
    assert rows[0].detail == {"format": "csv", "filter": {}}
    assert all(row.actor == job["requested_by"] for row in rows)


def claimed(parts: Parts) -> tuple[Any, Any]:
    """A job of this kind, and its runner."""
    runner = uuid4()
    with parts.engine.begin() as connection:
        jobs.create_job(
            connection, kind=report.DUPLICATES, params={"format": "csv", "filter": {}}, requested_by="tests"
        )
        return jobs.claim_job(connection, runner, 15), runner


def ended(parts: Parts, job: Any) -> Any:
    with parts.engine.connect() as connection:
        return jobs.find_job(connection, job.job_id)


def test_cancelling_ends_the_process_and_leaves_no_file(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(engine, ["KD-1", "KD-2"], [(0, 1, "same_file", 0)])
    monkeypatch.setattr("app.jobs.progress.REPORT_SECONDS", 0.05)
    job, runner = claimed(parts)
    with engine.connect() as connection:
        # The process waits for it as it would for its turn on a busy disk.
        connection.execute(text("LOCK TABLE match IN ACCESS EXCLUSIVE MODE"))
        thread = threading.Thread(target=keeper.run_job, args=(job, runner, parts))
        thread.start()
        deadline = time.monotonic() + 20
        while not list(parts.reports.root.iterdir()) and not waiting(engine):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with engine.begin() as other:
            jobs.request_cancel(other, job.job_id)
        thread.join(10)
        connection.rollback()
    assert not thread.is_alive()
    assert (ended(parts, job).state, ended(parts, job).result) == ("cancelled", None)
    assert files(parts) == []


def waiting(engine: Engine) -> bool:
    with engine.connect() as connection:
        statement = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'match'::regclass"
        return bool(connection.execute(text(statement)).scalar_one())


def test_what_a_runner_has_written_is_not_kept_once_another_took_the_job_over(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, runner = claimed(parts)
    written: list[str] = []

    def taken_over(*task: Any) -> Any:
        answer = done_apart(*task)
        written.extend(files(parts))
        with engine.begin() as connection:
            connection.execute(text("UPDATE job SET runner = gen_random_uuid()"))
        return answer

    monkeypatch.setattr(report, "done_apart", taken_over)
    keeper.run_job(job, runner, parts)
    assert written == [f"{job.job_id}.{runner}.new"]
    assert ended(parts, job).state == "running"
    assert files(parts) == []


def test_a_report_that_would_fill_the_disk_fails_and_says_so(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined(engine, ["KD-1", "KD-2"], [(0, 1, "same_file", 0)])
    object.__setattr__(parts, "settings", parts.settings.model_copy(update={"min_free_bytes": 2**62}))
    job, runner = claimed(parts)
    keeper.run_job(job, runner, parts)
    assert ended(parts, job).state == "failed"
    assert f"less than {2**62} bytes free" in ended(parts, job).error
    assert files(parts) == []
