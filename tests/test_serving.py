import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from uvicorn.supervisors import Multiprocess

from app.serving import _Several
from tests.pictures import drawn, encoded
from tests.service import Service, run


def test_starting_imports_nothing_that_only_fingerprinting_or_a_report_needs() -> None:
    heavy = ["pywt", "app.fingerprints.whole", "app.fingerprints.pattern", "matplotlib", "jinja2"]
    program = f"import sys, app.main; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


Start = Callable[..., Service]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    services: list[Service] = []

    def start(**settings: object) -> Service:
        service = Service(tmp_path / "data", **settings)
        services.append(service)
        service.wait_until_ready()
        made = run(tmp_path / "data", "keys", "create", "--client", "tests", "--role", "admin")
        assert made.returncode == 0, made.stderr
        service.key = made.stdout.splitlines()[-1]
        return service

    yield start
    for service in services:
        service.stop(signal.SIGKILL)


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def postmaster(service: Service) -> int:
    (found,) = [pid for pid in children(service.process.pid) if "postgres" in command_of(pid)]
    return found


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except FileNotFoundError:
        return ""


def test_first_start_prints_a_key_and_a_line_that_works_when_pasted(start: Start) -> None:
    service = start()
    printed = service.log.read_text()
    (line,) = re.findall(r"^ *(curl .+)$", printed, re.MULTILINE)
    done = subprocess.run(shlex.split(line), capture_output=True, text=True, timeout=30, check=True)
    assert '"duplicate":false' in done.stdout
    again = line.replace("CLAIM-1", "CLAIM-2")
    done = subprocess.run(shlex.split(again), capture_output=True, text=True, timeout=30, check=True)
    assert '"duplicate":true' in done.stdout


def test_second_start_keeps_the_data_and_prints_no_key(start: Start) -> None:
    service = start()
    service.upload("KD-1", encoded(drawn(1)))
    assert service.stop() == 0
    service.log.unlink()
    service = start()
    assert "no admin key" not in service.log.read_text()
    _, answer = service.upload("KD-2", encoded(drawn(1)))
    assert answer["images"][0]["verdict"] == "same_file"


def test_second_service_on_the_same_data_is_refused(start: Start) -> None:
    service = start()
    refused = run(service.data_dir, "serve", port=0)
    assert refused.returncode == 1
    assert str(service.process.pid) in refused.stderr
    assert "Traceback" not in refused.stderr
    assert service.request("GET", "/readyz")[0] == 200


def test_port_in_use_is_said_clearly(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = run(tmp_path, "serve", port=port)
    assert refused.returncode == 1
    assert f"port {port}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_setting_out_of_range_is_said_clearly(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", port=99999)
    assert refused.returncode == 1
    assert "port" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_database_that_is_not_there_is_said_clearly(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", port=0, database_url="postgresql://nobody@127.0.0.1:1/none")
    assert refused.returncode != 0
    assert "database" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_killed_database_is_started_again_and_nothing_acknowledged_is_lost(start: Start) -> None:
    service = start()
    stored = [service.upload_patiently(f"KD-{number}", encoded(drawn(number))) for number in range(3)]
    os.kill(postmaster(service), signal.SIGKILL)
    found = service.upload_patiently("KD-copy", encoded(drawn(0)))
    assert found["images"][0]["matches"][0]["image_id"] == stored[0]["images"][0]["image_id"]
    for answer in stored:
        image = answer["images"][0]
        status, shown = service.request("GET", f"/images/{image['image_id']}")
        assert (status, shown["sha256"]) == (200, image["sha256"])


def test_requests_are_answered_while_the_database_cannot_come_back(start: Start) -> None:
    """What is left of the old server must end before a new one may start; that wait is nobody's but its own."""
    service = start()
    old = postmaster(service)
    backends = children(old)
    try:
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        os.kill(old, signal.SIGKILL)
        for _ in range(20):
            began = time.monotonic()
            assert service.request("GET", "/livez")[0] == 200
            assert time.monotonic() - began < 1
            time.sleep(0.1)
        assert service.request("GET", "/claims/KD-1/images")[0] == 503
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)
    service.wait_until_ready()
    assert service.stop() == 0


def test_service_can_be_stopped_while_the_database_cannot_come_back(start: Start) -> None:
    service = start()
    old = postmaster(service)
    backends = children(old)
    try:
        for pid in backends:
            os.kill(pid, signal.SIGSTOP)
        os.kill(old, signal.SIGKILL)
        time.sleep(1)
        assert service.stop() == 0
    finally:
        for pid in backends:
            os.kill(pid, signal.SIGCONT)


def test_killed_service_takes_its_database_with_it_and_starts_again(start: Start) -> None:
    service = start()
    service.upload("KD-1", encoded(drawn(1)))
    database = postmaster(service)
    service.stop(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while "postgres" in command_of(database) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert "postgres" not in command_of(database)
    service.log.unlink()
    assert start().upload("KD-2", encoded(drawn(1)))[1]["duplicate"] is True


def test_killed_worker_is_replaced_and_every_worker_answers_the_same(start: Start) -> None:
    service = start(workers=2)
    service.upload_patiently("KD-0", encoded(drawn(0)))
    workers = [pid for pid in children(service.process.pid) if "spawn_main" in command_of(pid)]
    assert len(workers) == 2
    os.kill(workers[0], signal.SIGKILL)
    for number in range(1, 12):
        answer = service.upload_patiently(f"KD-{number}", encoded(drawn(0)))
        assert answer["images"][0]["matches_total"] == number
        time.sleep(0.2)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        alive = [pid for pid in children(service.process.pid) if "spawn_main" in command_of(pid)]
        if len(alive) == 2:
            break
        time.sleep(0.1)
    assert len(alive) == 2
    assert service.stop() == 0


def test_reindex_swaps_on_every_worker(start: Start) -> None:
    service = start(workers=2)
    service.upload_patiently("KD-0", encoded(drawn(0)))
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        status, job = service.request("POST", "/admin/reindex")
        assert status == 202
        while job["state"] in ("queued", "running"):
            time.sleep(0.1)
            job = service.request("GET", f"/jobs/{job['job_id']}")[1]
        if job["result"]["workers"] == 2:
            break
    assert job["state"] == "succeeded"
    assert job["result"]["workers"] == 2
    assert job["result"]["difference"] == {"missing": 0, "extra": 0, "differing": 0}


def test_workers_end_with_the_process_that_watches_them(start: Start) -> None:
    service = start(workers=2)
    workers = [pid for pid in children(service.process.pid) if "spawn_main" in command_of(pid)]
    service.stop(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while any(map(command_of, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(command_of, workers))


def test_pictures_of_another_database_are_not_swept(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    (data_dir / "pictures").mkdir(parents=True)
    (data_dir / "pictures" / "collection").write_text("another")
    refused = run(data_dir, "serve", port=0)
    assert refused.returncode == 1
    assert "another database" in refused.stderr


def test_jobs_of_the_command_line_do_not_sweep_pictures_of_another_database(
    tmp_path: Path, database_url: str
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "collection").write_text("another")
    refused = run(tmp_path, "reindex", database_url=database_url)
    assert refused.returncode == 1
    assert "another database" in refused.stderr


def test_more_workers_than_the_embedded_database_has_connections_for_are_refused(tmp_path: Path) -> None:
    refused = run(tmp_path, "serve", workers=20)
    assert refused.returncode == 1
    assert "WORKERS or DATABASE_POOL_SIZE" in refused.stderr


@pytest.mark.parametrize("told", [False, True])
def test_a_worker_that_can_not_start_is_told_from_a_signal(
    monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    several = object.__new__(_Several)  # its own begin takes the signals of this process
    several._database, several.processes, several.should_exit = None, [], threading.Event()
    # As uvicorn does when a worker ends with its code for that.
    monkeypatch.setattr(Multiprocess, "keep_subprocess_alive", lambda self: self.should_exit.set())
    if told:
        several.should_exit.set()
    several.keep_subprocess_alive()
    assert several.broken is not told
