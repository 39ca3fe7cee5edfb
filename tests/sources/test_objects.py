"""Objects behind addresses, in a store that speaks S3."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from app.errors import InvalidValue, Unavailable
from app.sources.containers import contents_of
from app.sources.found import Refused
from app.sources.inputs import inputs_of
from tests.sources.made import found, jpeg, tarred, zipped

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(endpoint, monkeypatch):
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "testing",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
    }.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=endpoint, region_name="eu-central-1")
    client.create_bucket(Bucket="claims", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    yield client
    for page in client.get_paginator("list_objects_v2").paginate(Bucket="claims"):
        if keys := [{"Key": item["Key"]} for item in page.get("Contents", ())]:
            client.delete_objects(Bucket="claims", Delete={"Objects": keys})
    client.delete_bucket(Bucket="claims")
    client.close()


def put(store, **objects: bytes) -> None:
    for key, data in objects.items():
        store.put_object(Bucket="claims", Key=key, Body=data)


def test_an_address_is_one_object_or_all_under_it(store) -> None:
    put(store, **{"KD-7/a.jpg": jpeg(1), "KD-7/b/ü ?#%41.jpg": jpeg(2), "KD-77/c.jpg": b"", "KD-7/.x": b""})
    (one,) = inputs_of(["s3://claims/KD-7/a.jpg"])
    assert (one.name, one.byte_count) == ("s3://claims/KD-7/a.jpg", len(jpeg(1)))
    assert (one.folder_name, one.file_name) == ("KD-7", "a.jpg")
    for address in ("s3://claims/KD-7", "s3://claims/KD-7/"):
        items = list(inputs_of([address]))
        assert [item.name for item in items] == ["s3://claims/KD-7/a.jpg", "s3://claims/KD-7/b/ü ?#%41.jpg"]
    assert [item.data for item in found(contents_of(items[1]))] == [jpeg(2)]
    assert len(list(inputs_of(["s3://claims"]))) == 3
    assert [item.name for item in inputs_of([items[1].name])] == [items[1].name]


def test_archives_are_read_where_they_are(store) -> None:
    members = [(f"{number}.jpg", jpeg(number)) for number in range(5)]
    put(store, **{"a.zip": zipped(members), "b.tar.gz": tarred(members, "w:gz")})
    for item in inputs_of(["s3://claims"]):
        assert [picture.data for picture in found(contents_of(item))] == [data for _, data in members]


def test_many_objects_are_all_listed(store) -> None:
    backend = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
    for number in range(1100):  # through the door it would take ten seconds
        backend.put_object("claims", f"many/{number:04}.jpg", b"x")
    assert len(list(inputs_of(["s3://claims/many"]))) == 1100


def test_a_stamp_changes_with_the_content(store) -> None:
    put(store, **{"a.jpg": jpeg(1)})
    (before,) = inputs_of(["s3://claims/a.jpg"])
    put(store, **{"a.jpg": jpeg(2)})
    (after,) = inputs_of(["s3://claims/a.jpg"])
    assert before.stamp != after.stamp


def test_an_object_that_is_replaced_while_it_is_read_is_refused(store) -> None:
    put(store, **{"a.jpg": jpeg(1)})
    (item,) = inputs_of(["s3://claims/a.jpg"])
    put(store, **{"a.jpg": jpeg(2)})
    (refused,) = contents_of(item)
    assert isinstance(refused, Refused)
    assert isinstance(refused.error, InvalidValue)  # which ends no run
    assert "replaced while it was read" in refused.error.message


def test_an_address_with_nothing_under_it_is_reported(store) -> None:
    put(store, **{"a.jpg": jpeg(1)})
    items = list(inputs_of(["s3://claims/none", "s3://claims/a.jpg"]))
    assert isinstance(items[0], Refused)
    assert items[1].name == "s3://claims/a.jpg"


def test_a_bucket_that_is_not_there_is_an_error(store) -> None:
    with pytest.raises(InvalidValue):
        list(inputs_of(["s3://nothing/a.jpg"]))


def test_a_store_that_is_away_is_an_error_and_no_empty_listing(store, monkeypatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        for address in ("s3://claims/a.jpg", "s3://claims/prefix/"):
            with pytest.raises(Unavailable, match="can't be reached"):
                list(inputs_of([address]))


@pytest.mark.parametrize(
    ("status", "expected"), [(403, InvalidValue), (401, InvalidValue), (503, Unavailable)]
)
def test_a_store_that_turns_down_is_an_error_and_no_empty_listing(monkeypatch, status, expected) -> None:
    with answering(monkeypatch, lambda _: status):
        for address in ("s3://claims/a.jpg", "s3://claims/prefix/"):
            with pytest.raises(expected):
                list(inputs_of([address]))


LISTING = """<?xml version="1.0"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<Name>claims</Name><KeyCount>1</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated>
<Contents><Key>KD-7/a.jpg</Key><Size>9</Size><LastModified>2025-01-01T00:00:00.000Z</LastModified></Contents>
</ListBucketResult>"""


@contextmanager
def answering(monkeypatch, status_of: Callable[[str], int]) -> Iterator[None]:
    """A store that answers a path so; with 200, by a listing of one object."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = status_of(self.path)
            if status != 200:
                self.send_error(status)
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(LISTING)))
            self.end_headers()
            self.wfile.write(LISTING.encode())

        do_HEAD = do_GET  # noqa: N815 - the library looks for it

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever).start()
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        try:
            yield
        finally:
            server.shutdown()


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_that_runs_out_is_no_fault_of_the_objects(monkeypatch, status) -> None:
    statuses = iter([200])
    with answering(monkeypatch, lambda _: next(statuses, status)):
        (item,) = inputs_of(["s3://claims/KD-7/"])
        (refused,) = contents_of(item)
    assert isinstance(refused.error, Unavailable)
    assert "s3://claims gives nothing any more" in refused.error.message


def test_a_token_that_runs_out_between_two_listings_ends_no_run_for_good(monkeypatch) -> None:
    statuses = iter([200])
    with answering(monkeypatch, lambda _: next(statuses, 403)), pytest.raises(Unavailable):
        list(inputs_of(["s3://claims/KD-7/", "s3://claims/KD-8/"]))


def test_an_object_that_may_not_be_read_is_refused_where_the_store_still_lists(monkeypatch) -> None:
    with answering(monkeypatch, lambda path: 403 if "a.jpg" in path else 200):
        (item,) = inputs_of(["s3://claims/KD-7/"])
        (refused,) = contents_of(item)
    assert isinstance(refused.error, InvalidValue)


def test_a_bucket_that_is_gone_is_no_fault_of_the_objects(store) -> None:
    there = {"CreateBucketConfiguration": {"LocationConstraint": "eu-central-1"}}
    store.create_bucket(Bucket="fleeting", **there)
    store.put_object(Bucket="fleeting", Key="a.jpg", Body=jpeg(1))
    listed = [*inputs_of(["s3://fleeting"]), *inputs_of(["s3://fleeting/a.jpg"])]
    store.delete_object(Bucket="fleeting", Key="a.jpg")
    store.delete_bucket(Bucket="fleeting")
    for item in listed:
        (refused,) = contents_of(item)
        assert isinstance(refused.error, Unavailable)


def test_a_store_that_goes_away_while_an_object_is_read_is_no_end_of_it(store, monkeypatch) -> None:
    put(store, **{"a.jpg": jpeg(1)})
    (item,) = inputs_of(["s3://claims/a.jpg"])
    store.delete_object(Bucket="claims", Key="a.jpg")
    (refused,) = contents_of(item)
    assert isinstance(refused, Refused)
