"""Fingerprinting on a real Dask cluster of processes on this machine."""

import importlib
import io
import json
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from app.errors import BrokenPicture, StartupError
from app.imaging import DecodeLimits, DecodePool
from app.imaging.cluster import ClusterDecoders
from tests.pictures import drawn
from tests.service import run

# Dask leaves sockets of workers that were killed to the garbage collector.
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.long]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def workers(cluster: Any) -> Iterator[ClusterDecoders]:
    decoders = ClusterDecoders(cluster.scheduler_address.replace("tcp://", "dask://"), DecodeLimits())
    yield decoders
    decoders.close()


def picture(folder: Path, seed: int) -> Path:
    file = io.BytesIO()
    drawn(seed).save(file, "JPEG")
    path = folder / f"{seed}.original"
    path.write_bytes(file.getvalue())
    return path


def test_a_cluster_gives_the_fingerprint_and_rendition_of_this_machine(
    workers: ClusterDecoders, decoders: DecodePool, tmp_path: Path
) -> None:
    path = picture(tmp_path, 1)
    far, near = tmp_path / "far.jpg", tmp_path / "near.jpg"
    assert repr(workers.fingerprint(path, far)) == repr(decoders.fingerprint(path, near))
    assert far.read_bytes() == near.read_bytes()


def test_a_broken_picture_is_refused_as_on_this_machine(workers: ClusterDecoders, tmp_path: Path) -> None:
    path = tmp_path / "broken.original"
    path.write_bytes(b"\xff\xd8\xff\xe0 not much of a JPEG")
    with pytest.raises(BrokenPicture):
        workers.fingerprint(path, tmp_path / "rendition.jpg")
    assert not (tmp_path / "rendition.jpg").exists()


def test_files_of_a_worker_that_is_killed_are_done_by_another(
    cluster: Any, workers: ClusterDecoders, tmp_path: Path
) -> None:
    paths = [picture(tmp_path, seed) for seed in range(40)]
    done = threading.Semaphore(0)

    def one(path: Path) -> Any:
        found = workers.fingerprint(path, path.with_suffix(".jpg"))
        done.release()
        return found

    with ThreadPoolExecutor(4) as threads:
        futures = [threads.submit(one, path) for path in paths]
        for _ in range(5):
            done.acquire()
        victim = next(iter(cluster.workers.values()))
        os.kill(victim.process.pid, signal.SIGKILL)
        hashes = {future.result().fingerprint.hashes["phash"] for future in futures}
    assert len(hashes) == len(paths)


def test_a_worker_of_other_versions_ends_the_work(
    workers: ClusterDecoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.imaging.cluster.FINGERPRINT_VERSION", 0)
    with pytest.raises(StartupError, match="install the same Claimprint on"):
        workers.fingerprint(picture(tmp_path, 2), tmp_path / "rendition.jpg")


def only_here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a worker is to do, from a module that only this process has."""
    (folder / "only_here.py").write_text("def fingerprint_bytes(data, limits):\n    return None\n")
    monkeypatch.syspath_prepend(folder)
    return importlib.import_module("only_here").fingerprint_bytes


@pytest.mark.parametrize(
    ("done_instead", "error"),
    [(json.loads, "TypeError"), (operator.is_, "AttributeError")],
    ids=["raises", "answers"],
)
def test_workers_that_do_something_else_end_the_work(
    workers: ClusterDecoders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, done_instead: Any, error: str
) -> None:
    monkeypatch.setattr("app.imaging.cluster.fingerprint_bytes", done_instead)
    with pytest.raises(StartupError, match=f"{error}.*install the same Claimprint on"):
        workers.fingerprint(picture(tmp_path, 2), tmp_path / "rendition.jpg")


def test_a_scheduler_without_this_claimprint_ends_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen([*command, "--no-dashboard", "--scheduler-file", told], cwd=tmp_path) as scheduler:
        try:
            while not told.exists() or not told.read_text():
                assert scheduler.poll() is None
                time.sleep(0.05)
            address = json.loads(told.read_text())["address"].replace("tcp://", "dask://")
            with closing(ClusterDecoders(address, DecodeLimits())) as decoders:
                folder = tmp_path / "here"
                folder.mkdir()
                monkeypatch.setattr("app.imaging.cluster.fingerprint_bytes", only_here(folder, monkeypatch))
                with pytest.raises(StartupError, match=r"RuntimeError.*install the same Claimprint on"):
                    decoders.fingerprint(picture(tmp_path, 2), tmp_path / "rendition.jpg")
        finally:
            scheduler.kill()


def test_no_scheduler_is_an_error_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.imaging.cluster._CONNECT_SECONDS", 1)
    with pytest.raises(StartupError, match="no Dask scheduler answers"):
        ClusterDecoders("dask://127.0.0.1:1", DecodeLimits())


def test_a_whole_intake_runs_on_the_cluster(cluster: Any, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(6):
        picture(folder, seed).rename(folder / f"K{seed}_a.jpg")
    picture(folder, 0).rename(folder / "K9_copy.jpg")
    address = cluster.scheduler_address.replace("tcp://", "dask://")
    done = run(tmp_path, "ingest", str(folder), "--claim-from", "name", "--executor", address)
    assert done.returncode == 0, done.stderr
    assert "7 new" in done.stderr
    assert "same_file of image" in done.stdout
    wrong = run(tmp_path, "ingest", str(folder), "--claim-from", "name", "--executor", "threads")
    assert wrong.returncode == 2
    assert "dask://host:port" in wrong.stderr
