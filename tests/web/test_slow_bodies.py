"""Bodies that arrive slowly, over a real connection: they are waited for, and not for ever."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Engine, text

from app.imaging.pool import DecodePool
from app.main import application
from app.parts import make_parts
from app.settings import Settings
from tests.pictures import drawn, encoded

BODY_SECONDS = 2.0
PATIENCE_SECONDS = 30.0
TYPES = {"/claims/KD-1/images": "multipart/form-data; boundary=b", "/clusters": "application/json"}
PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="1.jpg"\r\n\r\n'


@pytest.fixture
def app(settings: Settings, decoders: DecodePool) -> FastAPI:
    patience = settings.model_copy(update={"body_seconds": BODY_SECONDS})
    return application(make_parts(patience, decoders=decoders))


@pytest.fixture
def connect(app: FastAPI, make_key: Callable[..., str]) -> Iterator[Callable[[str, int], socket.socket]]:
    """Connect to the running service, and send the head of a request with a body of so many bytes."""
    key = make_key("admin")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()

        def connect(path: str, length: int) -> socket.socket:
            connection = socket.create_connection(listening.getsockname(), timeout=PATIENCE_SECONDS)
            connection.sendall(
                f"POST {path} HTTP/1.1\r\nHost: test\r\nAuthorization: Bearer {key}\r\n"
                f"Content-Type: {TYPES[path]}\r\nContent-Length: {length}\r\n\r\n".encode()
            )
            return connection

        yield connect
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


def trickled(connection: socket.socket) -> tuple[int, Any]:
    """Send a byte now and then until there is an answer, and read on until the other side closes."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    connection.settimeout(0.05)
    answer = b""
    while time.monotonic() < deadline:
        try:
            some = connection.recv(1 << 16)
        except TimeoutError:
            if not answer:
                with contextlib.suppress(ConnectionError):  # the answer may be on its way
                    connection.sendall(b" ")
            continue
        except ConnectionResetError:
            some = b""
        if not some:
            head, _, body = answer.partition(b"\r\n\r\n")
            return int(head.split()[1]), json.loads(body)
        answer += some
    raise AssertionError(f"the connection is open still: {answer!r}")


@pytest.mark.parametrize(
    ("path", "begin"), [("/claims/KD-1/images", PART + b"x" * 9 * 1024 * 1024), ("/clusters", b"{")]
)
def test_a_body_that_trickles_is_408_and_frees_its_place(
    app: FastAPI,
    connect: Callable[[str, int], socket.socket],
    engine: Engine,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    begin: bytes,
) -> None:
    spooled: list[Any] = []

    class Watched(SpooledTemporaryFile[bytes]):
        def __init__(self, *given: Any, **named: Any):
            super().__init__(*given, **named)
            spooled.append(self)

    monkeypatch.setattr("starlette.formparsers.SpooledTemporaryFile", Watched)
    with connect(path, len(begin) + 1000) as connection:
        connection.sendall(begin)
        status, members = trickled(connection)
    assert (status, members["status"], members["type"]) == (408, 408, "/problems/request-too-slow")
    assert members["limit"] == BODY_SECONDS
    assert app.state.uploads.inside == 0
    assert len(spooled) == (path != "/clusters")
    assert all(file.closed for file in spooled)
    assert list((settings.data_dir / "pictures").glob("??/*")) == []
    with engine.connect() as database:
        assert (
            database.execute(
                text("SELECT (SELECT count(*) FROM image) + (SELECT count(*) FROM job)")
            ).scalar()
            == 0
        )


def test_a_body_that_pauses_is_taken(connect: Callable[[str, int], socket.socket]) -> None:
    body = PART + encoded(drawn(1)) + b"\r\n--b--\r\n"
    with connect("/claims/KD-1/images", len(body)) as connection:
        for some in (body[:100], body[100:-5], body[-5:]):
            connection.sendall(some)
            time.sleep(0.1)
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 201 ")
