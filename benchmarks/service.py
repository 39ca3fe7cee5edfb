"""The service as its users meet it: `claimprint serve` in a process of its own, spoken to over HTTP."""

import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

HOST = "127.0.0.1"
COMMAND = Path(sys.executable).with_name("claimprint")
POLL_SECONDS = 0.01
START_SECONDS = 60.0
STOP_SECONDS = 30.0
BOUNDARY = "benchmark-boundary-7f3a"


class Service:
    """A running service on a free port; it ends with its `with` block.

    `data_dir` gets its pictures, its log, and its embedded database unless `database_url` names another.
    `seconds_to_ready` is the time from the start of the process to the first 200 of `/readyz`.
    """

    def __init__(self, data_dir: Path, database_url: str = ""):
        self.port = free_port()
        data_dir.mkdir(parents=True, exist_ok=True)
        self._log = data_dir / "serve.log"
        self._folder = data_dir
        self._environment = os.environ | {
            "DATA_DIR": str(data_dir.absolute()),
            "DATABASE_URL": database_url,
            "HOST": HOST,
            "PORT": str(self.port),
        }
        with self._log.open("wb") as log:
            started = time.perf_counter()
            # In its own folder, so that nobody's .env changes what is measured.
            self._process = subprocess.Popen(
                [COMMAND, "serve"],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=data_dir,
                env=self._environment,
            )
        try:
            self._wait_until_ready(started + START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.seconds_to_ready = time.perf_counter() - started

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """End the service in good order, or after a while in any."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """Process id of the command; decoders and database are below it."""
        return self._process.pid

    def make_key(self) -> str:
        """Make an admin key, as an operator does."""
        command = [COMMAND, "keys", "create", "--client", "benchmark", "--role", "admin"]
        made = subprocess.run(
            command, capture_output=True, text=True, check=True, cwd=self._folder, env=self._environment
        )
        return made.stdout.splitlines()[-1]

    def _wait_until_ready(self, deadline: float) -> None:
        while not is_ready(self.port):
            if self._process.poll() is not None or time.perf_counter() > deadline:
                raise SystemExit(f"the service did not get ready:\n{self._log.read_text()}")
            time.sleep(POLL_SECONDS)


class Client:
    """One HTTP connection, kept open between requests, with a key."""

    def __init__(self, port: int, key: str):
        self._connection = http.client.HTTPConnection(HOST, port, timeout=60)
        self._connection.connect()
        self._headers = {"Authorization": f"Bearer {key}"}

    def upload(self, claim_id: str, file_name: str, data: bytes) -> tuple[dict[str, Any], float]:
        """Upload one picture; return its image of the answer, and the seconds from request to answer."""
        answer, seconds = self.send_form(f"/claims/{claim_id}/images", "files", file_name, data)
        image: dict[str, Any] = answer["images"][0]
        if not image["created"]:
            raise SystemExit(f"{file_name} was stored before: what was timed is no upload")
        return image, seconds

    def get(self, path: str) -> tuple[dict[str, Any], float]:
        """Return the answer of a GET and its seconds."""
        return self._ask("GET", path)

    def send_form(
        self, path: str, part: str, file_name: str, data: bytes, **fields: str
    ) -> tuple[dict[str, Any], float]:
        """POST a file with other fields; return the answer and its seconds."""
        head = "".join(
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += (
            f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{part}"; filename="{file_name}"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        )
        body = head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()
        return self._ask("POST", path, body, {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"})

    def send_json(self, method: str, path: str, value: object) -> dict[str, Any]:
        """Send JSON; return the answer."""
        body = json.dumps(value).encode()
        answer: dict[str, Any] = self._ask(method, path, body, {"Content-Type": "application/json"})[0]
        return answer

    def delete(self, path: str) -> None:
        """DELETE something."""
        self._ask("DELETE", path)

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[Any, float]:
        started = time.perf_counter()
        self._connection.request(method, path, body, self._headers | dict(headers or {}))
        response = self._connection.getresponse()
        answer = response.read()
        seconds = time.perf_counter() - started
        if response.status >= 300:
            raise SystemExit(f"{method} {path} answered {response.status}: {answer.decode()}")
        return json.loads(answer or b"null"), seconds


def is_ready(port: int) -> bool:
    """Whether `/readyz` answers 200."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
