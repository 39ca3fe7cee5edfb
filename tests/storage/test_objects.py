"""Object storage that is slow, away, full, or not ours."""

import contextlib
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest

from app.errors import BrokenPicture, StartupError, StorageAway, StorageFull
from app.settings import Settings
from app.storage import Pictures
from tests.object_storage import HOST, Bucket
from tests.storage.test_pictures import files_below, shrink, stored


def calls(pictures: Pictures) -> dict[str, Callable[[], Any]]:
    """Everything that asks the server."""
    return {
        "store": lambda: stored(pictures),
        "read original": lambda: pictures.read_original(uuid4()),
        "read rendition": lambda: pictures.read_rendition(uuid4()),
        "read renditions": lambda: list(pictures.read_renditions([uuid4(), uuid4()])),
        "erase": lambda: pictures.erase(uuid4()),
        "list": lambda: list(pictures.old_pictures(0)),
    }


def test_names_are_those_of_the_local_folder(objects: Pictures, bucket: Bucket) -> None:
    picture_id = str(stored(objects))
    names = [f"pictures/{picture_id[:2]}/{picture_id}.{part}" for part in ("original", "rendition.jpg")]
    assert bucket.names() == names


def test_nothing_stays_in_the_local_folder(objects: Pictures, tmp_path: Path) -> None:
    stored(objects)
    assert files_below(tmp_path) == []


def test_what_a_killed_process_left_in_the_local_folder_is_erased_by_the_sweep(
    objects: Pictures, tmp_path: Path
) -> None:
    left = tmp_path / "data" / "staging" / "pictures" / "00" / "00000000-0000-0000-0000-000000000001.original"
    left.write_bytes(b"camera")
    assert list(objects.old_pictures(3600)) == []
    assert left.exists()
    assert list(objects.old_pictures(-60)) == []
    assert not left.exists()


def test_the_original_is_sent_while_it_is_decoded(objects: Pictures, bucket: Bucket) -> None:
    def see(original: Path, rendition: Path) -> list[str]:
        shrink(original, rendition)
        deadline = time.monotonic() + 5
        while not (names := bucket.names()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return names

    picture_id = uuid4()
    (name,) = objects.store(picture_id, b"camera", see)
    assert name.endswith(f"{picture_id}.original")


def test_renditions_are_fetched_beside_each_other(objects: Pictures, bucket: Bucket) -> None:
    ids = [stored(objects) for _ in range(16)]
    bucket.relay.delay_seconds = 0.1
    started = time.monotonic()
    assert list(objects.read_renditions(ids)) == [b"cmr"] * 16
    assert time.monotonic() - started < 16 * 0.1 / 2


def test_a_server_that_is_away_is_an_error_and_never_nothing_there(objects: Pictures, bucket: Bucket) -> None:
    bucket.stop()
    for name, call in calls(objects).items():
        with pytest.raises(StorageAway) as caught:
            call()
        assert caught.value.retry_after_seconds > 0, name
    bucket.start()
    stored(objects)


def test_a_bucket_that_is_gone_is_an_error_and_never_nothing_there(objects: Pictures, bucket: Bucket) -> None:
    bucket.client.delete_bucket(Bucket=bucket.name)
    for name, call in calls(objects).items():
        with pytest.raises(StorageAway):
            print(name, call())


def test_a_server_that_says_nothing_is_given_up_in_time(bucket: Bucket, open_in: Any) -> None:
    bucket.relay.silent = True
    for name, call in calls(open_in(bucket.url)(pictures_timeout_seconds=1.0)).items():
        started = time.monotonic()
        with pytest.raises(StorageAway):
            call()
        assert time.monotonic() - started < 4, name


def test_a_short_absence_is_not_noticed(objects: Pictures, bucket: Bucket) -> None:
    picture_id = stored(objects)
    bucket.stop()

    def come_back() -> None:
        time.sleep(0.05)
        bucket.start()

    Thread(target=come_back).start()
    assert objects.read_original(picture_id) == b"camera"


def test_a_file_that_cannot_be_decoded_is_told_so_while_the_server_is_away(
    objects: Pictures, bucket: Bucket
) -> None:
    def fail(*_paths: Path) -> None:
        raise BrokenPicture("the decoder refused it")

    bucket.stop()
    with pytest.raises(BrokenPicture):
        objects.store(uuid4(), b"camera", fail)
    bucket.start()


@pytest.mark.parametrize("part", [b".original", b".rendition"])
def test_a_picture_of_which_one_part_is_refused_is_not_stored(
    objects: Pictures, bucket: Bucket, part: bytes
) -> None:
    bucket.relay.refused = (part,)
    with pytest.raises(StorageAway):
        stored(objects)


def test_a_rendition_that_does_not_arrive_is_no_picture_and_its_original_is_swept(
    objects: Pictures, bucket: Bucket
) -> None:
    def cut_off(original: Path, rendition: Path) -> None:
        shrink(original, rendition)
        while not bucket.names():
            time.sleep(0.01)
        bucket.relay.refused = (b"PUT",)

    picture_id = uuid4()
    with pytest.raises(StorageAway):
        objects.store(picture_id, b"camera", cut_off)
    bucket.relay.refused = ()
    assert list(objects.old_pictures(-60)) == [picture_id]
    objects.erase(picture_id)
    assert bucket.names() == []


def test_a_large_file_is_one_object_and_no_upload_of_parts(objects: Pictures, bucket: Bucket) -> None:
    data = bytes(11 << 20)
    assert objects.read_original(stored(objects, data)) == data
    (original, _) = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    assert "-" not in original["ETag"]


class _Full(BaseHTTPRequestHandler):
    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"<Error><Code>XMinioStorageFull</Code><Message>It has reached its limit</Message></Error>"
        self.send_response(507)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: Any) -> None:
        pass


@contextlib.contextmanager
def full_server() -> Iterator[int]:
    with ThreadingHTTPServer((HOST, 0), _Full) as server:
        Thread(target=server.serve_forever).start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


def test_full_storage_is_told_as_a_full_disk_is(
    bucket: Bucket, open_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with full_server() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{HOST}:{port}")
        with pytest.raises(StorageFull):
            stored(open_in(bucket.url)())


# At the start.


def test_a_missing_bucket_is_told_at_the_start(bucket: Bucket, open_in: Any) -> None:
    with pytest.raises(StartupError, match=r"s3://nobodys-bucket/claims/pictures.*NoSuchBucket"):
        open_in("s3://nobodys-bucket/claims")().tie("ours")


def test_wrong_credentials_are_told_at_the_start(objects: Pictures, bucket: Bucket) -> None:
    with bucket.asking_for_keys(), pytest.raises(StartupError, match="InvalidAccessKeyId"):
        objects.tie("ours")


def test_a_server_that_is_away_is_told_at_the_start(objects: Pictures, bucket: Bucket) -> None:
    bucket.stop()
    with pytest.raises(StartupError, match="can't be kept in s3://"):
        objects.tie("ours")
    bucket.start()


def test_nothing_but_the_note_is_left_of_the_trial_at_the_start(objects: Pictures, bucket: Bucket) -> None:
    objects.tie("ours")
    assert bucket.names() == ["pictures/collection"]
    assert (
        bucket.client.get_object(Bucket=bucket.name, Key="claims/pictures/collection")["Body"].read()
        == b"ours"
    )


def test_a_server_that_knows_no_conditions_can_be_used(
    bucket: Bucket, open_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_CONDITIONAL_PUT", "disabled")
    open_in(bucket.url)().tie("ours")
    open_in(bucket.url)().tie("ours")
    with pytest.raises(StartupError, match="another database"):
        open_in(bucket.url)().tie("theirs")


@pytest.mark.parametrize(
    "url", ["bucket/claims", "ftp://host/claims", "s3://", "file://claims", "s3://b/c?d=e"]
)
def test_a_url_that_names_no_storage_is_out_of_range(url: str) -> None:
    with pytest.raises(ValueError, match="pictures_url"):
        Settings(_env_file=None, pictures_url=url)  # type: ignore[call-arg]


def test_a_storage_that_lacks_its_settings_is_told_at_the_start(
    open_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(StartupError, match="Account must be specified"):
        open_in("az://container/claims")()
