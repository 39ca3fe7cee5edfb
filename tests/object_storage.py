"""A server that speaks S3, and a way to it that can be slow, closed or silent."""

import contextlib
import socket
import threading
import time
import urllib.request
import uuid
from collections.abc import Iterator

import boto3
from moto.server import ThreadedMotoServer

HOST = "127.0.0.1"
KEY = "testing-key"


class Relay:
    """A port that passes connections on to another: late, never, or not where a request line has a word."""

    def __init__(self, port: int):
        self._to = port
        self.delay_seconds = 0.0
        self.silent = False
        self.refused: tuple[bytes, ...] = ()
        self._listening = socket.create_server((HOST, 0), backlog=128)
        self._open: set[socket.socket] = set()
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=[near], daemon=True).start()

    def _serve(self, near: socket.socket) -> None:
        self._open.add(near)
        with near, contextlib.suppress(OSError):
            first = near.recv(1 << 16)
            if self.silent:
                near.recv(1 << 16)
                return
            if any(word in first.partition(b"\r\n")[0] for word in self.refused):
                return
            time.sleep(self.delay_seconds)
            with socket.create_connection((HOST, self._to)) as far:
                far.sendall(first)
                threading.Thread(target=_copy, args=[near, far], daemon=True).start()
                _copy(far, near)
        self._open.discard(near)


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


class Bucket:
    """An empty bucket on a server of its own; what that holds stays when it is stopped and started again."""

    def __init__(self) -> None:
        self.port = 0
        self.name = f"pictures-{uuid.uuid4().hex[:12]}"
        self.url = f"s3://{self.name}/claims"
        self.start()
        self.relay = Relay(self.port)
        self.client.create_bucket(Bucket=self.name)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it, by way of the relay."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.relay.port}",
            "AWS_ALLOW_HTTP": "true",
        }

    def start(self) -> None:
        self._server = ThreadedMotoServer(HOST, self.port, verbose=False)
        self._server.start()
        self.port = self._server.get_host_and_port()[1]
        self.client = boto3.client(
            "s3",
            endpoint_url=f"http://{HOST}:{self.port}",
            region_name="us-east-1",
            aws_access_key_id=KEY,
            aws_secret_access_key=KEY,
        )

    def stop(self) -> None:
        self._server.stop()
        self.client.close()

    def names(self, below: str = "") -> list[str]:
        """Names of all objects, without the prefix of the URL."""
        listed = self.client.list_objects_v2(Bucket=self.name, Prefix=f"claims/{below}")
        return [each["Key"].removeprefix("claims/") for each in listed.get("Contents", [])]

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"claims/{name}", Body=data)

    @contextlib.contextmanager
    def asking_for_keys(self) -> Iterator[None]:
        """Have the server refuse keys that it did not hand out, as it does not by itself."""
        self._let_pass(b"0")
        try:
            yield
        finally:
            self._let_pass(b"inf")

    def close(self) -> None:
        self.relay.close()
        self.stop()

    def _let_pass(self, requests: bytes) -> None:
        address = f"http://{HOST}:{self.port}/moto-api/reset-auth"
        request = urllib.request.Request(address, requests, {"Content-Type": "text/plain"})
        urllib.request.urlopen(request).close()
