"""Embedded servers under a supervisor in a process of its own, and what the tests ask of them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import create_engine, text
from sqlalchemy.exc import OperationalError

SUPERVISOR = """
import sys
from pathlib import Path
from app.embedded import EmbeddedServer
server = EmbeddedServer.start(Path(sys.argv[1]))
print(server.pid, server.url, flush=True)
sys.stdin.read()
"""


def wait_until(condition: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def is_running(pid: int) -> bool:
    """Whether the process exists and is no zombie (a container may have nobody who reaps orphans)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in "ZX"


def run_sql(url: str, statement: str) -> list[tuple[object, ...]]:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            result = connection.execute(text(statement))
            return [tuple(row) for row in result] if result.returns_rows else []
    finally:
        engine.dispose()


class Supervisor:
    """A process that runs an embedded server until its stdin is closed."""

    def __init__(self, data_dir: Path, script: str = SUPERVISOR) -> None:
        self.url = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", script, str(data_dir)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def ready(self) -> tuple[int, str]:
        """Process id and URL of its server."""
        assert self.process.stdout is not None
        pid, self.url = self.process.stdout.readline().split()
        return int(pid), self.url

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        self.process.communicate()


def socket_directory_of(url: str) -> Path:
    return Path(url.partition("host=")[2].partition("&")[0])


def copy_cluster(cluster: Path, data_dir: Path) -> Path:
    shutil.copytree(cluster, data_dir / "postgres")
    return data_dir


def can_connect(url: str) -> bool:
    try:
        run_sql(url, "SELECT 1")
    except OperationalError:
        return False
    return True
