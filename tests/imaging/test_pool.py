"""The pool: what callers get while decoding processes crash, hang, die and are replaced."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.decoders import start_decoders
from app.errors import (
    BrokenPicture,
    DecoderKilled,
    Overloaded,
    StartupError,
    StorageFull,
    Unavailable,
    UnsupportedFormat,
)
from app.fingerprints.keypoints import keypoints
from app.fingerprints.whole import fingerprint
from app.imaging import DecodeLimits, DecodePool
from app.imaging.normalise import normalise
from app.imaging.process import DecodeProcess
from app.settings import Settings
from tests.imaging.drawn import encoded, jpeg_with_scans, png, scene

SLOW = {"max_jpeg_scans": 10_000, "max_scanned_pixels": 10**12, "wall_seconds": 1.0}


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture"
    path.write_bytes(encoded(scene(1500, 1000), "JPEG", quality=90))
    return path


@pytest.fixture
def slow_picture(tmp_path):
    path = tmp_path / "slow"
    path.write_bytes(jpeg_with_scans(3000, (2000, 1500)))
    return path


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


def test_a_picture_gets_the_fingerprint_of_its_normalised_pixels(pool, picture, tmp_path):
    found = pool.fingerprint(picture, tmp_path / "rendition.jpg")
    normalised = normalise(picture.read_bytes(), DecodeLimits())
    expected = fingerprint(normalised.image)
    for field in fields(expected):
        np.testing.assert_array_equal(getattr(found.fingerprint, field.name), getattr(expected, field.name))
    points = keypoints(normalised.image.convert("L"))
    assert points.sure.any()
    for field in fields(points):
        np.testing.assert_array_equal(getattr(found.keypoints, field.name), getattr(points, field.name))
    assert found.pixel_sha256 == normalised.pixel_sha256()
    assert (found.status, found.format, found.width, found.height) == ("fingerprinted", "JPEG", 1500, 1000)


def test_the_rendition_is_the_normalised_picture_and_hashes_the_same(pool, picture, tmp_path):
    found = pool.fingerprint(picture, tmp_path / "rendition.jpg")
    with Image.open(tmp_path / "rendition.jpg") as rendition:
        assert (rendition.format, rendition.size, rendition.layers) == ("JPEG", (512, 341), 3)
        assert {layer[1:3] for layer in rendition.layer} == {(1, 1)}  # 4:4:4
    again = pool.fingerprint(tmp_path / "rendition.jpg", None)
    for name, value in found.fingerprint.hashes.items():
        assert (value ^ again.fingerprint.hashes[name]).bit_count() <= 2


def test_facts_of_the_camera_come_through_the_pipe(pool, shared_data):
    found = pool.fingerprint(shared_data / "camera" / "DJI_0024.JPG", None)
    assert (found.format, found.camera_make, found.camera_model) == ("JPEG", "DJI", "FC300S")
    assert found.taken_at is not None
    assert found.taken_at.isoformat() == "2016-06-23T16:32:43+00:00"
    assert found.exif["ISOSpeedRatings"] == 100


def test_relative_paths_are_the_callers(pool, picture, monkeypatch):
    monkeypatch.chdir(picture.parent)
    assert pool.fingerprint(picture.relative_to(picture.parent), None).width == 1500


def test_a_broken_file_leaves_no_rendition_and_its_neighbours_alone(pool, picture, tmp_path):
    broken, rendition = tmp_path / "broken", tmp_path / "rendition.jpg"
    broken.write_bytes(picture.read_bytes()[:5000])
    with pytest.raises(BrokenPicture):
        pool.fingerprint(broken, rendition)
    assert not rendition.exists()
    assert pool.fingerprint(picture, rendition).width == 1500


def test_a_missing_file_is_the_callers_fault(pool, tmp_path):
    with pytest.raises(FileNotFoundError):
        pool.fingerprint(tmp_path / "nowhere", None)


def test_a_full_disk_is_told_apart(pool, picture, tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(StorageFull):
        pool.fingerprint(picture, tmp_path / "full")
    assert pool.fingerprint(picture, tmp_path / "fits").width == 1500


def test_a_rendition_that_cannot_be_written_is_no_fault_of_the_picture(pool, picture, tmp_path):
    with pytest.raises(OSError, match="No such file"):
        pool.fingerprint(picture, tmp_path / "no" / "such" / "folder")


def test_idle_processes_that_were_killed_fail_nobody(make_pool, picture):
    pool = make_pool(processes=2)
    for _ in range(2):
        for process in list(pool._running):
            os.kill(process.pid, signal.SIGKILL)
        assert pool.fingerprint(picture, None).width == 1500


def test_a_stopped_and_killed_idle_process_is_retried_on_another(make_pool, picture):
    pool = make_pool()
    (process,) = pool._running
    os.kill(process.pid, signal.SIGSTOP)  # it takes the bytes into its pipe, and never the task
    threading.Timer(0.3, os.kill, (process.pid, signal.SIGKILL)).start()
    assert pool.fingerprint(picture, None).width == 1500


def test_a_process_killed_at_work_loses_its_file_only(make_pool, picture, slow_picture):
    pool = make_pool(processes=2, max_jpeg_scans=10_000, max_scanned_pixels=10**12)
    with ThreadPoolExecutor(1) as threads:
        lost = threads.submit(pool.fingerprint, slow_picture, None)
        wait_until(lambda: len(pool._idle) == 1)
        (busy,) = pool._running - set(pool._idle)
        time.sleep(0.2)
        os.kill(busy.pid, signal.SIGKILL)
        with pytest.raises(DecoderKilled, match="crashed"):
            lost.result(10)
    assert pool.fingerprint(picture, None).width == 1500
    wait_until(lambda: len(pool._idle) == 2)


def test_others_are_served_while_one_runs_into_its_deadline(make_pool, picture, slow_picture):
    pool = make_pool(processes=2, **SLOW)
    wait_until(lambda: len(pool._idle) == 2)
    with ThreadPoolExecutor(1) as threads:
        slow = threads.submit(pool.fingerprint, slow_picture, None)
        started = time.monotonic()
        pool.fingerprint(picture, None)
        assert time.monotonic() - started < 0.9
        with pytest.raises(DecoderKilled):
            slow.result(10)


def test_the_queue_is_bounded_and_given_back():
    pool = DecodePool(1, DecodeLimits(), max_queued=3)
    try:
        with pool.reserve(2), pool.reserve(1):
            with pytest.raises(Overloaded, match="3") as refused, pool.reserve(1):
                pass
            assert refused.value.retry_after_seconds > 0
        with pool.reserve(3):
            pass
        with pool.reserve(20), pytest.raises(Overloaded), pool.reserve(1):
            pass
    finally:
        pool.close()


def test_many_threads_share_few_processes(make_pool, picture):
    pool = make_pool(processes=2)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: pool.fingerprint(picture, None).pixel_sha256, range(40)))
    assert len(set(found)) == 1


def test_starting_a_pool_takes_no_time_and_closing_ends_its_processes():
    started = time.monotonic()
    pool = DecodePool(2, DecodeLimits(), max_queued=4)
    assert time.monotonic() - started < 0.2
    assert pool.ready(60)
    pids = [process.pid for process in pool._running]
    pool.close()
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    with pytest.raises(Unavailable, match="shutting down"):
        pool.fingerprint(Path(__file__), None)


def test_a_process_ends_when_its_parent_is_gone(make_pool):
    pool = make_pool()
    (process,) = pool._running
    process._tasks.close()
    wait_until(lambda: not process.alive)


def test_a_process_whose_parent_went_while_it_started_says_nothing():
    command = [sys.executable, "-P", "-m", "app.imaging.child", json.dumps(asdict(DecodeLimits())), "0"]
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=writer, stderr=subprocess.PIPE) as child:
        os.close(writer)
        _, said = child.communicate(timeout=60)
    assert (child.returncode, said) == (0, b"")


def test_decoding_yields_by_as_much_as_the_settings_say():
    settings = Settings(_env_file=None, decode_processes=1, decode_niceness=5)
    pool = start_decoders(settings)
    try:
        assert pool.niceness == 5
        pool.ready(60)
        [process] = pool._running
        if sys.platform == "linux":
            assert os.getpriority(os.PRIO_PROCESS, process.pid) == os.getpriority(os.PRIO_PROCESS, 0) + 5
    finally:
        pool.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities of threads")
def test_every_thread_of_a_decoding_process_yields_by_as_much_as_is_asked():
    own = os.getpriority(os.PRIO_PROCESS, 0)
    process = DecodeProcess(DecodeLimits(), niceness=3)
    try:
        assert process.wait_ready(60)
        threads = [int(each.name) for each in Path(f"/proc/{process.pid}/task").iterdir()]
        assert len(threads) > 2  # one writes renditions, one finds keypoints
        assert {os.getpriority(os.PRIO_PROCESS, thread) for thread in threads} == {own + 3}
    finally:
        process.discard()
        process.wait()


def test_a_process_inherits_no_secrets(make_pool, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql://secret")
    pool = make_pool()
    (process,) = pool._running
    assert b"secret" not in Path(f"/proc/{process.pid}/environ").read_bytes()


def test_a_process_that_lost_memory_is_replaced(make_pool, picture, tmp_path):
    pool = make_pool(memory_bytes=64 * 1024 * 1024)
    (before,) = pool._running
    bomb = tmp_path / "bomb"
    bomb.write_bytes(png(7000, 7000, colour=2))
    with pytest.raises(DecoderKilled, match="memory"):
        pool.fingerprint(bomb, None)
    assert pool.fingerprint(picture, None).width == 1500
    assert before not in pool._running


@pytest.mark.skipif(
    importlib.util.find_spec("pillow_heif") is not None, reason="the HEIC decoder is installed"
)
def test_heic_without_its_decoder_is_refused_at_the_start():
    with pytest.raises(StartupError, match=r"claimprint\[heic\]"):
        DecodePool(1, DecodeLimits(allow_heic=True), max_queued=1)


def test_processes_that_cannot_start_are_tried_again_and_the_others_told(monkeypatch, picture):
    monkeypatch.setattr("app.imaging.pool._QUEUE_SECONDS", 0.3)
    with monkeypatch.context() as broken:
        broken.setattr("app.imaging.process.sys.executable", "/nowhere/python")
        pool = DecodePool(1, DecodeLimits(), max_queued=1)
        try:
            with pytest.raises(Overloaded):
                pool.fingerprint(picture, None)
            broken.undo()
            assert pool.ready(60)
        finally:
            pool.close()


def test_avif_is_taken_by_setting_only(make_pool, tmp_path):
    picture = tmp_path / "picture"
    picture.write_bytes(encoded(scene(), "AVIF"))
    with pytest.raises(UnsupportedFormat, match="ALLOW_AVIF"):
        make_pool().fingerprint(picture, None)
    found = make_pool(allow_avif=True).fingerprint(picture, tmp_path / "rendition.jpg")
    assert (found.format, found.width, found.height) == ("AVIF", 640, 480)
    assert near(found, normalise(encoded(scene(), "PNG"), DecodeLimits()))


def test_heic_is_taken_where_its_decoder_is_installed(make_pool, tmp_path):
    heif = pytest.importorskip("pillow_heif", reason="the extra claimprint[heic] is not installed")
    picture = tmp_path / "picture"
    heif.from_pillow(scene()).save(picture, quality=80)
    with pytest.raises(UnsupportedFormat, match="ALLOW_HEIC"):
        make_pool().fingerprint(picture, None)
    pool = make_pool(allow_heic=True)
    found = pool.fingerprint(picture, tmp_path / "rendition.jpg")
    assert (found.format, found.width, found.height) == ("HEIF", 640, 480)
    assert near(found, normalise(encoded(scene(), "PNG"), DecodeLimits()))
    picture.write_bytes(picture.read_bytes()[:700])
    with pytest.raises(BrokenPicture):
        pool.fingerprint(picture, None)


def near(found, original):
    hashes = found.fingerprint.turned[0, 1], fingerprint(original.image).turned[0, 1]
    return int(np.bitwise_count(hashes[0] ^ hashes[1])) <= 8
