"""The service as a user starts it: `claimprint serve` in a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

COMMAND = [sys.executable, "-m", "app"]
ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30.0


def environment(data_dir: Path, **settings: object) -> dict[str, str]:
    """Environment of a command on this data directory, without the settings of whoever runs the tests."""
    kept = {
        name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "PORT", "WORKERS")
    }
    return kept | {
        "DATA_DIR": str(data_dir),
        **{name.upper(): str(value) for name, value in settings.items()},
    }


def run(data_dir: Path, *words: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run one `claimprint` command to its end."""
    return subprocess.run(
        [*COMMAND, *words],
        env=environment(data_dir, **settings),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=data_dir,
    )


class Service:
    """A running service; `key` is an admin's."""

    def __init__(self, data_dir: Path, **settings: object):
        data_dir.mkdir(parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.log = data_dir / "serve.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve"],
                env=environment(data_dir, **({"port": 0, "decode_processes": 1} | settings)),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=data_dir,
            )
        self.key = ""
        self.port = 0

    def wait_until_ready(self) -> "Service":
        """Wait for the port and for /readyz."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise AssertionError(self.log.read_text())
            self.port = self._port() or 0
            try:
                if self.port and self.request("GET", "/readyz")[0] == 200:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        """Send one request; status and decoded JSON."""
        sent = {"Authorization": f"Bearer {self.key}"} | (headers or {})
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}", data=body, headers=sent, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return response.status, json.loads(response.read() or b"null")
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def upload(self, claim: str, data: bytes) -> tuple[int, Any]:
        """POST one file."""
        boundary = uuid.uuid4().hex
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'.encode()
            + data
            + f"\r\n--{boundary}--\r\n".encode()
        )
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.request("POST", f"/claims/{claim}/images", body, headers)

    def upload_patiently(self, claim: str, data: bytes) -> Any:
        """POST one file until it is answered otherwise than with 503; the answer."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                status, answer = self.upload(claim, data)
                if status != 503:
                    assert status in (200, 201), answer
                    return answer
            except OSError:
                pass
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """End the service; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(with_signal)
        return self.process.wait(timeout=PATIENCE_SECONDS)

    def _port(self) -> int | None:
        found = re.findall(r"ready to listen on http://[^:]+:(\d+)", self.log.read_text())
        return int(found[-1]) if found else None
