import threading
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Connection, Engine, text
from starlette.testclient import TestClient

from app.catalog import images, jobs
from app.jobs import keeper, progress, rehash
from app.jobs.fill import ask_for_fill
from app.parts import Parts
from tests.pictures import drawn, encoded, photo, receipt
from tests.rows import insert_rows
from tests.rules import rule
from tests.web.api import assert_problem, finished, upload, uploaded


def test_reindex_answers_202_and_swaps_in_an_index_that_equals_the_table(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    insert_rows(engine, 300, np.random.default_rng(1))
    client.get("/readyz")
    response = client.post("/admin/reindex")
    assert response.status_code == 202
    before = parts.collection.current
    job = finished(client, response.json()["job_id"])
    assert response.headers["location"] == f"/jobs/{job['job_id']}"
    assert job["state"] == "succeeded"
    assert job["result"]["difference"] == {"missing": 0, "extra": 0, "differing": 0}
    assert job["result"]["images"] == 300
    assert job["result"]["workers"] == 1
    after = parts.collection.current
    assert after is not None
    assert after is not before
    assert len(after) == 300


def test_reindex_reports_what_the_old_index_had_wrong(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    rows = insert_rows(engine, 50, np.random.default_rng(1))
    assert client.get("/similar", params={"image_id": str(rows.image_ids[0])}).status_code == 200
    current = parts.collection.current
    assert current is not None
    current.indexes["phash"].remove(np.array(rows.seqs[:3]))
    current.indexes["dhash"].add(np.array([5], np.uint64), np.array([10**9]))
    current.indexes["ahash"].add(np.array([5], np.uint64), np.array(rows.seqs[7:8]))
    job = finished(client, client.post("/admin/reindex").json()["job_id"])
    assert job["result"]["difference"] == {"missing": 3, "extra": 1, "differing": 1}
    again = finished(client, client.post("/admin/reindex").json()["job_id"])
    assert again["result"]["difference"] == {"missing": 0, "extra": 0, "differing": 0}


def test_second_reindex_at_the_same_time_is_a_conflict(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        job = jobs.create_job(connection, kind="reindex", params={}, requested_by="test")
        connection.execute(text("UPDATE job SET state = 'running', heartbeat_at = clock_timestamp()"))
    members = assert_problem(client.post("/admin/reindex"), 409)
    assert str(job.job_id) in members["detail"]


def test_job_of_a_runner_that_died_is_taken_over(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        job = jobs.create_job(connection, kind="reindex", params={}, requested_by="test")
        connection.execute(
            text(
                "UPDATE job SET state = 'running', runner = gen_random_uuid(),"
                " heartbeat_at = clock_timestamp() - interval '1 minute'"
            )
        )
    assert finished(client, str(job.job_id))["state"] == "succeeded"


def test_job_that_waits_can_be_cancelled(engine: Engine) -> None:
    with engine.begin() as connection:
        job = jobs.create_job(connection, kind="reindex", params={}, requested_by="test")
        jobs.request_cancel(connection, job.job_id)
        found = jobs.find_job(connection, job.job_id)
    assert found is not None
    assert found.state == "cancelled"


def test_running_job_is_told_to_stop(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        # A worker that lives but never rebuilds: the job would wait for it.
        connection.execute(
            text(
                "INSERT INTO worker (worker_id, host, pid, generation, index_seq, heartbeat_at)"
                " VALUES (gen_random_uuid(), 'elsewhere', 1, 0, 0, clock_timestamp() + interval '1 hour')"
            )
        )
    job_id = client.post("/admin/reindex").json()["job_id"]
    time.sleep(0.6)
    assert client.get(f"/jobs/{job_id}").json()["state"] == "running"
    assert client.post(f"/jobs/{job_id}/cancel").status_code == 202
    assert finished(client, job_id)["state"] == "cancelled"


def test_rehash_repairs_a_fingerprint_and_its_matches(client: TestClient, engine: Engine) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE image SET phash = 0, dhash = 0, verifier = decode(repeat('00', 32), 'hex')"
                ", turned = decode(repeat('00', 576), 'hex'); DELETE FROM image_keypoints"
            )
        )
    second = uploaded(client, "KD-2", encoded(photo(), quality=50))
    assert second["verdict"] == "none"
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    assert job["result"]["rehash"] == {
        "images": 2,
        "changed": 1,
        "moved": 1,
        "from_rendition": 0,
        "failed": 0,
        "rescreened": 2,
    }
    shown = client.get(f"/images/{second['image_id']}").json()
    assert shown["verdict"] == "near_duplicate"
    assert shown["matches"][0]["image_id"] == first["image_id"]
    assert client.get(f"/images/{first['image_id']}").json()["hashes"] == first["hashes"]


def with_rule(parts: Parts, **changed: Any) -> None:
    """Have the service compare by another rule from now on, or by its own again."""
    parts.intake.screening = replace(parts.intake.screening, rule=rule(**changed))


def test_rescreening_applies_another_rule_to_what_is_stored(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    second = uploaded(client, "KD-2", encoded(photo().crop((5, 5, 505, 508))))
    third = uploaded(client, "KD-3", encoded(photo(), quality=90))
    with_rule(parts, near=0, verifier=0, page_verifier=0, copy_strength=99, scene_inliers=10_000)
    job = finished(client, client.post("/admin/reindex", params={"rescreen": True}).json()["job_id"])
    assert job["result"]["rescreened"] == 3
    assert client.get(f"/images/{second['image_id']}").json()["matches"] == []
    with_rule(parts)
    finished(client, client.post("/admin/reindex", params={"rescreen": True}).json()["job_id"])
    shown = client.get(f"/images/{third['image_id']}").json()
    assert {match["image_id"] for match in shown["matches"]} == {
        match["image_id"] for match in third["matches"]
    }


def test_pages_found_by_a_fill_are_compared_as_pages(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    with_rule(parts, near=12, verifier=56, page_verifier=56)
    for seed in range(6):
        image = uploaded(client, f"KD-{seed}", encoded(receipt(seed)))
    assert image["matches_total"] > 0
    as_before_0003(engine)
    with_rule(parts)
    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["rescreened"] == 6
    assert client.get(f"/images/{image['image_id']}").json()["matches_total"] == 0


def test_rehash_keeps_the_public_ids_of_matches(client: TestClient, engine: Engine) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    second = uploaded(client, "KD-2", encoded(photo(), quality=50))
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET whash = 1 WHERE claim_id = 'KD-1'"))
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    assert job["result"]["rehash"]["changed"] == 1
    shown = client.get(f"/images/{second['image_id']}").json()
    assert [match["match_id"] for match in shown["matches"]] == [second["matches"][0]["match_id"]]


def as_before_0004(engine: Engine, which: str = "true") -> None:
    """Take away what migration 0004 and later ones brought, as if these images had been stored before them."""
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE image SET pattern = NULL, keypoint_count = NULL WHERE {which}"))
        for table in ("pattern_tiles", "image_keypoints"):
            connection.execute(
                text(f"DELETE FROM {table} t USING image i WHERE i.created_seq = t.created_seq AND {which}")
            )


def as_before_0003(engine: Engine, which: str = "true") -> None:
    """Take away what migration 0003 brought, as if these images had been stored before it."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE image SET whash_db4 = NULL, colorhash = NULL, colour_code = NULL, page = NULL,"
                f" turned = substring(turned, 1, 512) WHERE {which}"
            )
        )
        connection.execute(
            text(f"DELETE FROM segment USING image i WHERE i.created_seq = segment.created_seq AND {which}")
        )
    as_before_0004(engine, which)


def without_evidence(image: dict[str, Any]) -> dict[str, Any]:
    """What is looked at again is seen in the rendition: places may be a tenth of a pixel off."""
    return image | {"matches": [match | {"evidence": None} for match in image["matches"]]}


def rows_of(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return [
            tuple(bytes(value) if isinstance(value, memoryview) else value for value in row)
            for statement in (
                "SELECT image_id, whash_db4, colorhash, colour_code, page, turned, pattern FROM image ORDER BY id",
                "SELECT keypoint_count FROM image ORDER BY id",
                "SELECT * FROM pattern_tiles ORDER BY created_seq",
                "SELECT * FROM image_keypoints ORDER BY created_seq",
                "SELECT * FROM segment ORDER BY created_seq, ordinal",
            )
            for row in connection.execute(text(statement))
        ]


def test_images_from_before_a_fingerprint_was_defined_get_it_from_a_job(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    for claim in ("KD-1", "KD-2", "KD-3"):
        first = uploaded(client, claim, encoded(photo(), quality=50 + len(rows_of(engine))))
    flat = uploaded(client, "KD-4", encoded(Image.new("RGB", (300, 200), "grey")))
    assert flat["status"] == "low_information"
    whole = rows_of(engine)
    shown = client.get(f"/images/{first['image_id']}").json()
    as_before_0003(engine, "claim_id <> 'KD-2'")
    params = {"image_id": first["image_id"], "hash": "whash_db4", "max_distance": 20}
    refused = client.get("/similar", params=params)
    assert_problem(refused, 503)
    assert int(refused.headers["retry-after"]) > 0
    assert "2 images" in refused.json()["detail"]
    assert client.get("/similar", params=params | {"hash": "phash"}).json()["total"] == 2
    assert "whash_db4" not in client.get(f"/images/{first['image_id']}").json()["hashes"]

    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    job = finished(client, str(job_id))
    assert job["result"] == {
        "images": 3,
        "changed": 3,
        "moved": 3,
        "from_rendition": 0,
        "failed": 0,
        "rescreened": 4,
        "templates": 0,
    }
    assert rows_of(engine) == whole
    assert client.get("/similar", params=params).json()["total"] == 2
    assert without_evidence(client.get(f"/images/{first['image_id']}").json()) == without_evidence(shown)


def test_what_cannot_be_filled_in_is_counted_and_not_tried_all_the_time(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    as_before_0003(engine)
    parts.pictures.erase(UUID(image["image_id"]))
    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["failed"] == 1
    ask_for_fill(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job WHERE kind = 'fill'")).scalar() == 1
    # Nothing may pretend to have looked at all images.
    other = uploaded(client, "KD-2", encoded(drawn(1)))
    assert_problem(client.get("/similar", params={"image_id": other["image_id"], "hash": "colorhash"}), 503)


def test_a_fill_from_the_rendition_leaves_what_the_original_gave(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    shown = client.get(f"/images/{image['image_id']}").json()
    whole = rows_of(engine)
    as_before_0004(engine)
    parts.pictures.files(UUID(image["image_id"])).original.write_bytes(b"nothing that can be decoded")
    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    result = finished(client, str(job_id))["result"]
    assert (result["from_rendition"], result["changed"], result["moved"], result["failed"]) == (1, 1, 1, 0)
    again = client.get(f"/images/{image['image_id']}").json()
    assert again["hashes"] | {"pattern": ""} == shown["hashes"] | {"pattern": ""}
    assert (int(again["hashes"]["pattern"], 16) ^ int(shown["hashes"]["pattern"], 16)).bit_count() <= 6
    assert len(rows_of(engine)) == len(whole)


def test_keypoints_found_of_a_rendition_leave_the_pattern_that_the_original_gave(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    with engine.begin() as connection:  # as migration 0009 leaves it, and a pattern that no rendition gives
        connection.execute(
            text("DELETE FROM image_keypoints; UPDATE image SET keypoint_count = NULL, pattern = 4711")
        )
    parts.pictures.files(UUID(image["image_id"])).original.unlink()
    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["from_rendition"] == 1
    with engine.connect() as connection:
        row = connection.execute(text("SELECT pattern, keypoint_count FROM image")).one()
    assert row.pattern == 4711
    assert row.keypoint_count > 0


def test_a_rehash_leaves_what_an_original_gave_that_cannot_be_read_now(
    client: TestClient, parts: Parts
) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    parts.pictures.files(UUID(image["image_id"])).original.write_bytes(b"nothing that can be decoded")
    result = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])[
        "result"
    ]
    assert (result["rehash"]["failed"], result["rehash"]["changed"], result["rehash"]["from_rendition"]) == (
        1,
        0,
        0,
    )
    assert client.get(f"/images/{image['image_id']}").json()["hashes"] == image["hashes"]


def test_a_pattern_that_is_wrong_in_the_table_is_mended_by_a_rehash(
    client: TestClient, engine: Engine
) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET pattern = pattern # 1"))
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    assert job["result"]["rehash"]["changed"] == 1
    assert client.get(f"/images/{image['image_id']}").json()["hashes"] == image["hashes"]


def test_rehash_falls_back_to_the_rendition(client: TestClient, settings: Any) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(3)))
    next((settings.data_dir / "pictures").glob("??/*.original")).unlink()
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    assert job["result"]["rehash"]["from_rendition"] == 1
    assert job["result"]["rehash"]["failed"] == 0
    before, after = image["hashes"], client.get(f"/images/{image['image_id']}").json()["hashes"]
    assert all((int(before[name], 16) ^ int(after[name], 16)).bit_count() <= 4 for name in before)


@pytest.mark.long
def test_nothing_is_missed_while_the_index_is_rebuilt(client: TestClient) -> None:
    base = encoded(photo("coffee"))
    upload(client, "KD-first", base)
    for number in range(15):
        job_id = client.post("/admin/reindex").json()["job_id"]
        for turn in range(2):
            found = uploaded(
                client, f"KD-{number}-{turn}", encoded(photo("coffee"), quality=60 + 2 * number + turn)
            )
            assert found["matches_total"] == 1 + 2 * number + turn
        assert finished(client, job_id)["state"] == "succeeded"


def test_jobs_of_two_kinds_run_beside_each_other(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template is not to wait until a year of images is rehashed."""
    going_on = threading.Event()
    monkeypatch.setattr(keeper, "fill", lambda *_: {"waited": going_on.wait(20)})
    with engine.begin() as connection:
        long = jobs.create_job(connection, kind="fill", params={}, requested_by="test")
    job = client.post("/clusters").json()
    assert finished(client, job["job_id"])["state"] == "succeeded"
    assert client.get(f"/jobs/{long.job_id}").json()["state"] == "running"
    going_on.set()
    assert finished(client, str(long.job_id))["result"] == {"waited": True}


def test_what_moved_in_a_rehash_that_broke_off_is_screened_by_the_next(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for claim_id in ("KD-1", "KD-2"):
        uploaded(client, claim_id, encoded(photo()))
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET phash = phash # 1 WHERE claim_id = 'KD-1'"))
    monkeypatch.setattr(rehash, "CLEARED_AT_ONCE", 1)
    store = rehash._store

    def breaking_off(*given: Any) -> None:
        store(*given)
        raise RuntimeError("the process is killed")

    def run() -> Any:
        return finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])

    clear = images.clear_screened

    def breaking_off_later(connection: Connection, after: int, limit: int) -> int | None:
        if after:
            raise RuntimeError("the process is killed")
        return clear(connection, after, limit)

    with monkeypatch.context() as patch:
        patch.setattr(rehash, "_store", breaking_off)
        assert run()["state"] == "failed"
    with monkeypatch.context() as patch:
        patch.setattr(progress, "REPORT_SECONDS", 0.0)
        patch.setattr(images, "clear_screened", breaking_off_later)
        assert run()["state"] == "failed"
    result = run()["result"]["rehash"]
    assert (result["changed"], result["rescreened"]) == (0, 2)
    assert run()["result"]["rehash"]["rescreened"] == 0


def test_a_job_that_has_all_images_screened_anew_shows_that_it_lives_after_each_step(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert_rows(engine, 4, np.random.default_rng(1))
    monkeypatch.setattr(rehash, "CLEARED_AT_ONCE", 1)
    monkeypatch.setattr(progress, "REPORT_SECONDS", 0.0)
    clear, cleared = images.clear_screened, []

    def cancelled_at_the_first(connection: Connection, after: int, limit: int) -> int | None:
        cleared.append(after)
        connection.execute(text("UPDATE job SET cancel_requested = 1"))
        return clear(connection, after, limit)

    monkeypatch.setattr(images, "clear_screened", cancelled_at_the_first)
    job = client.post("/admin/reindex", params={"rescreen": True}).json()
    assert finished(client, job["job_id"])["state"] == "cancelled"
    assert len(cleared) == 1


def test_all_images_are_counted_once_for_a_rehash_and_once_for_a_rebuild(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting reads a large table whole: not for every page of it, nor all the time while workers rebuild."""
    for claim_id in ("KD-1", "KD-2", "KD-3"):
        uploaded(client, claim_id, encoded(drawn(1)))
    monkeypatch.setattr(rehash, "ROWS_AT_ONCE", 1)
    monkeypatch.setattr(keeper, "TICK_SECONDS", 0.5)
    count, counted = images.count_live, []

    def watched(connection: Connection) -> int:
        counted.append(threading.current_thread().name)
        return count(connection)

    monkeypatch.setattr(images, "count_live", watched)
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    assert (job["state"], job["result"]["images"], job["result"]["rehash"]["images"]) == ("succeeded", 3, 3)
    assert [name for name in counted if name == "job reindex"] == ["job reindex"] * 2


def test_a_job_whose_statement_runs_out_of_time_fails_and_is_not_begun_again(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_given: object) -> Any:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL statement_timeout = 20; SELECT pg_sleep(5)"))

    monkeypatch.setattr(keeper, "_run", slow)
    job = finished(client, client.post("/admin/reindex").json()["job_id"])
    assert job["state"] == "failed"
    assert "statement timeout" in job["error"]


def test_a_job_that_fails_in_the_database_tells_its_words_and_no_statement_or_value(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(_job: object, _runner: object, parts: Parts) -> Any:
        with parts.engine.begin() as connection:
            connection.execute(
                text("INSERT INTO event (actor, action, subject) VALUES (:label, 'a', NULL)"),
                {"label": "Mrs Miller"},
            )

    monkeypatch.setattr(keeper, "_run", failing)
    job = finished(client, client.post("/admin/reindex").json()["job_id"])
    assert job["state"] == "failed"
    assert job["error"].startswith("IntegrityError: null value in column")
    assert "INSERT" not in job["error"]
    assert "Miller" not in job["error"]
    assert "'label': 'Mrs Miller'" not in caplog.text
