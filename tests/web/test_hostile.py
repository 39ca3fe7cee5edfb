import concurrent.futures
import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.parts import Parts
from app.settings import Settings
from tests.pictures import drawn, encoded, photo
from tests.web.api import assert_problem, upload, uploaded


def test_picture_that_claims_too_many_pixels_is_refused_by_its_header(client: TestClient) -> None:
    bomb = encoded(Image.new("1", (13_300, 13_300)), "PNG")
    assert len(bomb) < 100_000
    started = time.monotonic()
    members = assert_problem(upload(client, "KD-1", bomb), 413)
    assert time.monotonic() - started < 2
    assert members["rejected"][0]["problem"]["limit"] == 50_000_000


@pytest.mark.long
def test_files_that_break_decoders_get_a_reason_each_and_the_service_lives(
    client: TestClient, real_data: Path
) -> None:
    files = sorted(path for path in (real_data / "bad-input").rglob("*") if path.is_file())
    assert len(files) > 900
    statuses: dict[int, int] = {}
    for start in range(0, len(files), 20):
        batch = [path.read_bytes() for path in files[start : start + 20]]
        response = upload(client, f"KD-{start}", *batch)
        assert response.status_code < 500, response.text
        answer = response.json()
        rejected = answer["rejected"]
        assert len(answer.get("images", [])) + len(rejected) == len(batch)
        for item in rejected:
            problem = item["problem"]
            assert problem["status"] in (413, 415, 422), item
            assert problem["detail"]
            assert "Traceback" not in problem["detail"]
            assert "/" + "tmp" not in problem["detail"]
            statuses[problem["status"]] = statuses.get(problem["status"], 0) + 1
    assert set(statuses) == {413, 415, 422} or set(statuses) == {415, 422}
    assert uploaded(client, "KD-after", encoded(photo()))["status"] == "fingerprinted"


def test_camera_files_and_edits_of_them_are_flagged_across_claims(
    client: TestClient, real_data: Path
) -> None:
    for number, path in enumerate(sorted((real_data / "camera").glob("*"))):
        first = uploaded(client, f"KD-{number}", path.read_bytes())
        assert first["format"] == "JPEG"
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
        edits = {
            "resized": picture.resize((picture.width // 3, picture.height // 3)),
            "recompressed": picture,
            "mirrored": picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            "turned": picture.transpose(Image.Transpose.ROTATE_90),
        }
        for name, edit in edits.items():
            found = uploaded(client, f"KD-{number}-{name}", encoded(edit, quality=50))
            assert found["verdict"] == "near_duplicate", (path.name, name)
            assert first["image_id"] in {match["image_id"] for match in found["matches"]}


def test_every_exif_orientation_of_a_scene_is_one_picture(client: TestClient, real_data: Path) -> None:
    for scene in ("Landscape", "Portrait"):
        for number, path in enumerate(sorted((real_data / "exif-orientation").rglob(f"{scene}_*.jpg"))):
            found = uploaded(client, f"KD-{scene}-{number}", path.read_bytes())
            assert found["matches_total"] == number
            assert all(match["transform"] == "identity" for match in found["matches"])


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize("call", ["fsync", "write"])
def test_full_disk_is_507_and_nothing_is_stored(
    client: TestClient, engine: Engine, settings: Any, monkeypatch: pytest.MonkeyPatch, call: str, code: int
) -> None:
    def full(*_args: Any) -> None:
        raise OSError(code, os.strerror(code))

    if call == "fsync":
        monkeypatch.setattr("app.storage.local.os.fsync", full)
    else:
        monkeypatch.setattr("app.storage.pictures.Path.open", full)
    assert_problem(upload(client, "KD-1", encoded(drawn(1)), encoded(drawn(2))), 507)
    monkeypatch.undo()
    assert list((settings.data_dir / "pictures").glob("??/*")) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 0
    assert upload(client, "KD-1", encoded(drawn(1))).status_code == 201


def test_failure_after_the_commit_is_503_and_a_retry_gives_the_whole_answer(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = uploaded(client, "KD-0", encoded(photo()))

    def fail(*_args: Any) -> None:
        raise RuntimeError("the worker stumbled")

    monkeypatch.setattr("app.ingest.screen_rows", fail)
    response = upload(client, "KD-1", encoded(photo(), quality=50))
    assert_problem(response, 503)
    assert response.headers["retry-after"]
    with engine.connect() as connection:
        (stored,) = connection.execute(text("SELECT image_id FROM image WHERE claim_id = 'KD-1'")).scalars()
    assert client.get(f"/images/{stored}").json()["verdict"] == "pending"
    monkeypatch.undo()
    answer = upload(client, "KD-1", encoded(photo(), quality=50))
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    assert image["image_id"] == str(stored)
    assert image["matches"][0]["image_id"] == first["image_id"]


def test_sweep_screens_what_was_committed_but_never_answered(
    client: TestClient, parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.jobs.sweep import screen_unanswered

    uploaded(client, "KD-0", encoded(photo()))
    monkeypatch.setattr("app.ingest.screen_rows", lambda *_: 1 / 0)
    upload(client, "KD-1", encoded(photo(), quality=50))
    monkeypatch.undo()
    assert screen_unanswered(engine, parts.intake.screening) == 0
    assert screen_unanswered(engine, parts.intake.screening, older_than_seconds=0) == 1
    with engine.connect() as connection:
        stored = connection.execute(text("SELECT image_id FROM image WHERE claim_id = 'KD-1'")).scalar()
    assert client.get(f"/images/{stored}").json()["verdict"] == "near_duplicate"


def test_sweep_erases_old_files_without_a_row_and_no_others(
    client: TestClient, parts: Parts, engine: Engine, settings: Any
) -> None:
    from uuid import uuid4

    from app.jobs.sweep import erase_orphans

    kept = uploaded(client, "KD-1", encoded(drawn(1)))
    orphan = uuid4()
    parts.pictures.files(orphan).original.write_bytes(b"left behind")
    assert erase_orphans(engine, parts.pictures, older_than_seconds=3600) == 0
    assert erase_orphans(engine, parts.pictures, older_than_seconds=-1) == 1
    assert not parts.pictures.files(orphan).original.exists()
    assert client.get(f"/images/{kept['image_id']}/content").status_code == 200


def test_full_queue_is_503_before_anything_is_stored(client: TestClient, parts: Parts, settings: Any) -> None:
    with parts.intake.decoders.reserve(parts.intake.decoders.max_queued):
        response = upload(client, "KD-1", encoded(drawn(1)))
    assert_problem(response, 503)
    assert response.headers["retry-after"]
    assert list((settings.data_dir / "pictures").glob("??/*")) == []


@pytest.mark.parametrize("path", ["/claims/KD-1/images", "/similar", "/templates"])
def test_more_uploads_than_may_be_under_way_are_503_before_they_are_read(
    client: TestClient, path: str
) -> None:
    admission = client.app.state.uploads  # type: ignore[attr-defined]
    uploaded(client, "KD-0", encoded(drawn(1)))
    assert_problem(client.post(path, content=b"no form"), 422)
    assert admission.inside == 0
    admission.inside = admission.most
    response = client.post(path, content=b"no form, and it is not looked at")
    assert_problem(response, 503)
    assert response.headers["retry-after"]
    assert admission.inside == admission.most
    admission.inside = 0
    uploaded(client, "KD-0", encoded(drawn(2)))


def test_uploads_under_way_are_bounded_by_their_bytes_too(client: TestClient, settings: Settings) -> None:
    admission = client.app.state.uploads  # type: ignore[attr-defined]
    most = 64 * 25 * 1024 * 1024
    assert admission.most_bytes == most
    admission.inside, admission.bytes_inside = 1, most - 1000

    def sent(content: Any, **headers: str) -> Any:
        return client.post("/claims/KD-1/images", content=content, headers=headers)

    assert_problem(sent(b"x" * 1000), 422)  # it is no form
    refused = sent(b"x" * 1001)
    assert_problem(refused, 503)
    assert refused.headers["retry-after"]
    # No length, or none that counts: it may be as long as any.
    assert_problem(sent(iter([b"x"])), 503)
    assert_problem(sent(b"x", **{"Transfer-Encoding": "chunked"}), 503)
    assert_problem(sent(b"x", **{"Content-Length": "0" * 5000 + "1"}), 422)
    admission.bytes_inside = most - settings.max_request_bytes
    assert_problem(sent(iter([b"x"])), 422)
    assert (admission.inside, admission.bytes_inside) == (1, most - settings.max_request_bytes)


def test_one_upload_is_let_in_however_large_it_may_be(client: TestClient) -> None:
    admission = client.app.state.uploads  # type: ignore[attr-defined]
    admission.most_bytes = 10
    uploaded(client, "KD-1", encoded(drawn(1)))
    admission.inside = 1
    assert_problem(upload(client, "KD-1", encoded(drawn(1))), 503)


def test_copies_sent_at_the_same_moment_find_each_other(client: TestClient) -> None:
    data = [encoded(photo("coffee"), quality=50 + number) for number in range(12)]
    with concurrent.futures.ThreadPoolExecutor(12) as threads:
        found = list(threads.map(lambda item: uploaded(client, f"KD-{item[0]}", item[1]), enumerate(data)))
    in_order = sorted(found, key=lambda image: image["seq"])
    for position, image in enumerate(in_order):
        listed = {match["image_id"] for match in image["matches"]}
        assert {earlier["image_id"] for earlier in in_order[:position]} <= listed
