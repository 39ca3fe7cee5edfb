"""The whole service on object storage, and without originals."""

import io
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from PIL import Image
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.imaging import DecodePool
from app.jobs.keeper import Keeper
from app.jobs.sweep import erase_orphans, screen_unanswered
from app.main import application
from app.parts import Parts, make_parts
from app.settings import Settings
from tests.object_storage import Bucket
from tests.pictures import drawn, encoded, photo
from tests.service import run
from tests.web.api import assert_problem, finished, upload, uploaded
from tests.web.test_matches import crop

Start = Callable[..., tuple[TestClient, Parts]]


@pytest.fixture
def start(settings: Settings, decoders: DecodePool, make_key: Callable[..., str]) -> Iterator[Start]:
    """Starts the service with further settings; the one before it ends."""
    running: list[TestClient] = []

    def end() -> None:
        while running:
            running.pop().__exit__(None, None, None)

    def begin(**further: Any) -> tuple[TestClient, Parts]:
        end()
        parts = make_parts(settings.model_copy(update=further), decoders=decoders)
        client = TestClient(application(parts), raise_server_exceptions=False)
        client.headers["Authorization"] = f"Bearer {make_key('admin')}"
        running.append(client.__enter__())
        return client, parts

    yield begin
    end()


@pytest.fixture(params=["local", "s3"])
def place(request: pytest.FixtureRequest) -> str:
    """URL of either storage."""
    return "" if request.param == "local" else str(request.getfixturevalue("bucket").url)


def content(client: TestClient, image: dict[str, Any], size: str) -> Any:
    return client.get(f"/images/{image['image_id']}/content", params={"size": size})


def size_of(response: Any) -> tuple[int, int]:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content)).size


# On S3.


def test_a_copy_is_found_drawn_and_deleted_on_s3(start: Start, bucket: Bucket) -> None:
    client, _ = start(pictures_url=bucket.url)
    data = encoded(photo())
    first = uploaded(client, "KD-1", data)
    copy = uploaded(client, "KD-2", encoded(crop()))
    assert copy["verdict"] == "edited_copy"
    (match,) = copy["matches"]
    assert match["evidence"]["score"] > 0.9
    assert size_of(client.get(f"/matches/{match['match_id']}/overlay.png"))[0] > 500
    assert content(client, first, "original").content == data
    assert max(size_of(content(client, first, "thumbnail"))) == 256
    assert len(bucket.names()) == 4
    assert client.delete(f"/images/{first['image_id']}").status_code == 204
    assert not [name for name in bucket.names() if first["image_id"] in name]
    assert client.delete("/claims/KD-2").status_code == 204
    assert bucket.names() == []


def test_a_picture_that_is_only_looked_at_is_not_sent_to_s3(start: Start, bucket: Bucket) -> None:
    client, _ = start(pictures_url=bucket.url)
    uploaded(client, "KD-1", encoded(photo()))
    before = bucket.names()
    asked = client.post(
        "/similar",
        files={"file": ("a.jpg", encoded(crop()))},
        params={"hash": "keypoints", "max_distance": 12, "orientations": "all"},
    )
    assert asked.status_code == 200, asked.text
    assert asked.json()["total"] == 1
    assert bucket.names() == before


def test_a_replay_and_a_broken_file_leave_no_object_behind(start: Start, bucket: Bucket) -> None:
    client, _ = start(pictures_url=bucket.url)
    data = encoded(photo())
    first = uploaded(client, "KD-1", data)
    assert uploaded(client, "KD-1", data)["image_id"] == first["image_id"]
    assert upload(client, "KD-1", data[:500]).status_code == 422
    assert len(bucket.names()) == 2


def test_templates_are_kept_on_s3(start: Start, bucket: Bucket) -> None:
    client, _ = start(pictures_url=bucket.url)
    made = client.post(
        "/templates", files={"file": ("a.jpg", encoded(photo()))}, data={"name": "T", "fingerprint": "phash"}
    )
    assert made.status_code in (201, 202), made.text
    template = made.json()["template_id"]
    assert all(name.startswith("templates/") for name in bucket.names())
    assert max(size_of(client.get(f"/templates/{template}/content"))) == 512
    assert client.delete(f"/templates/{template}").status_code == 204
    assert bucket.names() == []


def test_what_is_wrong_with_a_template_is_told_though_its_picture_cannot_be_erased(
    start: Start, bucket: Bucket
) -> None:
    client, _ = start(pictures_url=bucket.url)
    bucket.relay.refused = (b"?delete",)
    flat = encoded(Image.new("RGB", (300, 200), "white"))
    made = client.post(
        "/templates", files={"file": ("a.jpg", flat)}, data={"name": "T", "fingerprint": "phash"}
    )
    assert_problem(made, 422, "file")


def test_while_s3_is_away_uploads_are_503_and_a_repeat_after_it_is_back_is_complete(
    start: Start, bucket: Bucket, engine: Engine
) -> None:
    client, _ = start(pictures_url=bucket.url)
    first = uploaded(client, "KD-1", encoded(photo()))
    bucket.stop()
    response = upload(client, "KD-2", encoded(crop()), encoded(drawn(1)))
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert "/problems/storage-away" in response.text
    assert bucket.name not in response.text
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 1
    assert_problem(content(client, first, "original"), 503)
    bucket.start()
    answer = upload(client, "KD-2", encoded(crop()), encoded(drawn(1)))
    assert answer.status_code == 201
    image, other = answer.json()["images"]
    assert [match["image_id"] for match in image["matches"]] == [first["image_id"]]
    assert image["verdict"] == "edited_copy"
    assert other["matches"] == []
    assert len(bucket.names()) == 6


def test_a_request_of_many_files_waits_for_silent_storage_once(start: Start, bucket: Bucket) -> None:
    client, _ = start(pictures_url=bucket.url, pictures_timeout_seconds=1.0)
    bucket.relay.silent = True
    started = time.monotonic()
    assert_problem(upload(client, "KD-1", *[encoded(drawn(seed)) for seed in range(12)]), 503)
    assert time.monotonic() - started < 4.5


def test_an_image_that_could_not_be_compared_is_503_and_a_repeat_gives_its_matches(
    start: Start, bucket: Bucket
) -> None:
    client, _ = start(pictures_url=bucket.url)
    first = uploaded(client, "KD-1", encoded(photo()))
    bucket.relay.refused = (b"GET",)
    assert_problem(upload(client, "KD-2", encoded(crop())), 503)
    (stored,) = client.get("/claims/KD-2/images").json()["images"]
    assert stored["verdict"] == "pending"
    bucket.relay.refused = ()
    answer = upload(client, "KD-2", encoded(crop()))
    assert answer.status_code == 200
    (image,) = answer.json()["images"]
    assert image["image_id"] == stored["image_id"]
    assert [match["image_id"] for match in image["matches"]] == [first["image_id"]]
    assert image["verdict"] == "edited_copy"


def test_an_image_deleted_while_s3_is_away_is_gone_at_once_and_its_bytes_by_the_sweep(
    start: Start, bucket: Bucket, engine: Engine
) -> None:
    client, parts = start(pictures_url=bucket.url)
    image = uploaded(client, "KD-1", encoded(photo()))
    kept = uploaded(client, "KD-2", encoded(drawn(1)))
    bucket.stop()
    problem = assert_problem(client.delete(f"/images/{image['image_id']}"), 503)
    assert problem["detail"].startswith("deleted, but")
    assert client.get(f"/images/{image['image_id']}").status_code == 404
    bucket.start()
    assert erase_orphans(engine, parts.pictures, older_than_seconds=-60) == 1
    assert len(bucket.names()) == 2
    assert all(kept["image_id"] in name for name in bucket.names())


def test_orphans_on_s3_are_listed_once_an_hour_and_erased(
    start: Start, bucket: Bucket, engine: Engine
) -> None:
    client, parts = start(pictures_url=bucket.url)
    kept = uploaded(client, "KD-1", encoded(photo()))
    keeper = Keeper(replace(parts, settings=parts.settings.model_copy(update={"orphan_file_seconds": -60.0})))

    def leave_behind() -> None:
        orphan = uuid4()
        bucket.put(f"pictures/{str(orphan)[:2]}/{orphan}.original", b"left behind")

    leave_behind()
    assert keeper._erase_orphans() == 1
    leave_behind()
    assert keeper._erase_orphans() == 0
    assert len(bucket.names()) == 3
    keeper._listed -= 3601
    assert keeper._erase_orphans() == 1
    assert content(client, kept, "original").status_code == 200


def test_a_listing_that_fails_is_tried_again(start: Start, bucket: Bucket) -> None:
    _, parts = start(pictures_url=bucket.url)
    keeper = Keeper(parts)
    bucket.stop()
    keeper._sweep_once()
    assert not keeper._listed
    bucket.start()
    keeper._sweep_once()
    assert keeper._listed


def test_serve_says_what_is_wrong_with_the_storage(tmp_path: Path, bucket: Bucket, database_url: str) -> None:
    for url, said in (("s3://nobodys-bucket/x", "NoSuchBucket"), ("ftp://host", "s3://")):
        refused = run(tmp_path, "serve", port=0, pictures_url=url, database_url=database_url)
        assert refused.returncode == 1
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr


# Without originals.


def test_without_originals_copies_are_found_and_drawn_and_renditions_shown(start: Start, place: str) -> None:
    client, _ = start(pictures_url=place, store_originals=False)
    first = uploaded(client, "KD-1", encoded(photo()))
    copy = uploaded(client, "KD-2", encoded(crop()))
    assert copy["verdict"] == "edited_copy"
    assert client.get(f"/matches/{copy['matches'][0]['match_id']}/overlay.png").status_code == 200
    assert max(size_of(content(client, first, "rendition"))) == 512
    assert max(size_of(content(client, first, "thumbnail"))) == 256
    problem = assert_problem(content(client, first, "original"), 404, "size")
    assert "STORE_ORIGINALS" in problem["detail"]
    assert client.delete("/claims/KD-1").status_code == 204
    assert "no image" in assert_problem(content(client, first, "original"), 404)["detail"]


def test_without_originals_the_uploaded_bytes_are_nowhere(
    start: Start, bucket: Bucket, place: str, settings: Settings
) -> None:
    client, _ = start(pictures_url=place, store_originals=False)
    data = encoded(photo())
    image = uploaded(client, "KD-1", data)
    files = [path for path in (settings.data_dir).rglob("*") if path.is_file()]
    names = [path.name for path in files] + [name.rsplit("/", 1)[-1] for name in bucket.names()]
    assert names == [f"{image['image_id']}.rendition.jpg"]


def test_originals_from_before_are_kept_beside_images_without(start: Start, place: str) -> None:
    data = encoded(photo())
    client, _ = start(pictures_url=place)
    first = uploaded(client, "KD-1", data)
    client, _ = start(pictures_url=place, store_originals=False)
    second = uploaded(client, "KD-2", encoded(drawn(1)))
    assert content(client, first, "original").content == data
    assert_problem(content(client, second, "original"), 404, "size")
    client, _ = start(pictures_url=place)
    third = uploaded(client, "KD-3", encoded(drawn(2)))
    assert [content(client, image, "original").status_code for image in (first, second, third)] == [
        200,
        404,
        200,
    ]


def test_a_rehash_takes_originals_where_there_are_some_and_says_of_how_many_not(
    start: Start, place: str
) -> None:
    client, _ = start(pictures_url=place)
    uploaded(client, "KD-1", encoded(photo()))
    client, _ = start(pictures_url=place, store_originals=False)
    second = uploaded(client, "KD-2", encoded(photo("coffee")))
    job = finished(client, client.post("/admin/reindex", params={"rehash": True}).json()["job_id"])
    counts = job["result"]["rehash"]
    assert (counts["images"], counts["from_rendition"], counts["failed"]) == (2, 1, 0)
    # What tells the same pixels is not lost: the same picture in another file is still known as such.
    again = uploaded(client, "KD-3", encoded(Image.open(io.BytesIO(encoded(photo("coffee")))), "PNG"))
    assert [(match["image_id"], match["kind"]) for match in again["matches"]] == [
        (second["image_id"], "same_pixels")
    ]


def test_images_whose_storage_was_away_are_screened_by_the_sweep(
    start: Start, bucket: Bucket, engine: Engine
) -> None:
    client, parts = start(pictures_url=bucket.url)
    first = uploaded(client, "KD-1", encoded(photo()))
    bucket.relay.refused = (b"GET",)
    upload(client, "KD-2", encoded(crop()))
    bucket.relay.refused = ()
    assert screen_unanswered(engine, parts.intake.screening, older_than_seconds=0) == 1
    (image,) = client.get("/claims/KD-2/images").json()["images"]
    assert [UUID(match["image_id"]) for match in image["matches"]] == [UUID(first["image_id"])]
