"""What an upload may do to us: every row of the table gets its answer, within its limits."""

import time
import zlib
from pathlib import Path

import pytest
from PIL import Image

from app.errors import BrokenPicture, DecoderKilled, PictureTooLarge, UnsupportedFormat, UnusablePicture
from app.imaging import Fingerprinted
from tests.imaging.drawn import chunk, encoded, gif_with_frames, jpeg_with_scans, png, scene

MIB = 1024 * 1024

# So that such files get as far as the decoder.
ANY_SCANS = {"max_jpeg_scans": 10_000, "max_scanned_pixels": 10**12}


def outcome(pool, path):
    try:
        return pool.fingerprint(path, None)
    except UnusablePicture as error:
        return error


@pytest.fixture
def cost(make_pool, tmp_path):
    """Answer, wall seconds and the decoding process's growth at its peak, for one file in a fresh pool."""

    def measure(data, **limits):
        pool = make_pool(**limits)
        path = tmp_path / "upload"
        path.write_bytes(data)
        (process,) = pool._running
        before = peak_bytes(process.pid)
        started = time.monotonic()
        answer = outcome(pool, path)
        seconds = time.monotonic() - started
        return answer, seconds, max(0, peak_bytes(process.pid) - before)

    return measure


def peak_bytes(pid):
    """The most memory a process ever had; 0 once it is dead, when its limit has spoken."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    except FileNotFoundError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")), 0)


@pytest.mark.parametrize(
    "bomb", [{"width": 9400, "height": 9400, "colour": 6}, {"width": 13300, "height": 13300, "depth": 1}]
)
def test_a_picture_of_too_many_pixels_is_refused_from_its_header(cost, bomb):
    answer, seconds, grown = cost(png(**bomb))
    assert isinstance(answer, PictureTooLarge)
    assert answer.limit == 50_000_000
    assert seconds < 1
    assert grown < 16 * MIB


@pytest.mark.parametrize("scans", [500, 10_000])
def test_extra_scans_are_refused_before_decoding(cost, scans):
    answer, seconds, grown = cost(jpeg_with_scans(scans))
    assert isinstance(answer, BrokenPicture)
    assert answer.limit == 100
    assert seconds < 1
    assert grown < 32 * MIB


def test_a_million_text_chunks_are_refused_before_opening(cost):
    answer, seconds, grown = cost(png(8, 8, extra=chunk(b"tEXt", b"k\0value!!!") * 1_000_000))
    assert isinstance(answer, BrokenPicture)
    assert answer.limit == 1000
    assert seconds < 1
    assert grown < 40 * MIB  # the file itself


@pytest.mark.parametrize("name", ["WEBP", "AVIF"])
def test_forty_nine_megapixels_stay_within_the_memory_limit(cost, name):
    flat = Image.new("RGB", (7000, 7000), (200, 30, 30))
    data = encoded(flat, name, **({"lossless": True, "method": 0} if name == "WEBP" else {"speed": 10}))
    answer, seconds, grown = cost(data, allow_avif=True)
    assert isinstance(answer, Fingerprinted | DecoderKilled)
    assert grown <= 1024 * MIB
    assert seconds < 15
    answer, _, _ = cost(data, allow_avif=True, memory_bytes=64 * MIB)
    assert isinstance(answer, DecoderKilled | BrokenPicture)


def test_only_the_first_of_many_frames_is_read(cost):
    answer, seconds, grown = cost(gif_with_frames(20_000))
    assert isinstance(answer, Fingerprinted)
    assert seconds < 1
    assert grown < 16 * MIB


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_text_that_inflates_without_end_is_refused_or_left_out(cost, kind):
    inflating = chunk(kind, b"name\0\0" + zlib.compress(bytes(200_000_000), 1))
    answer, seconds, grown = cost(png(64, 64, extra=inflating))
    assert isinstance(answer, BrokenPicture | Fingerprinted)
    assert seconds < 3
    assert grown < 128 * MIB


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("empty", b"", BrokenPicture),
        ("half a JPEG", encoded(scene(), "JPEG")[:9000], BrokenPicture),
        ("wrong checksum", encoded(scene(), "PNG").replace(b"IDAT", b"IDAT\0", 1), BrokenPicture),
        ("lying dimensions", png(4000, 4000, rows=10), BrokenPicture),
        ("text", b"not a picture at all", UnsupportedFormat),
        ("SVG", b"<svg xmlns='http://www.w3.org/2000/svg'/>", UnsupportedFormat),
    ],
)
def test_broken_files_get_a_reason_without_a_path(pool, tmp_path, name, data, kind):
    path = tmp_path / "secret-name"
    path.write_bytes(data)
    answer = outcome(pool, path)
    assert type(answer) is kind
    assert str(tmp_path) not in answer.message
    assert "secret-name" not in answer.message


def test_a_decoder_out_of_memory_is_named_with_its_limit(cost):
    answer, _, _ = cost(png(7000, 7000, colour=2), memory_bytes=64 * MIB)
    assert isinstance(answer, DecoderKilled)
    assert answer.limit == 64 * MIB


def test_a_decoder_out_of_cpu_time_is_named_with_its_limit(cost):
    answer, seconds, _ = cost(jpeg_with_scans(3000, (2000, 1500)), **ANY_SCANS, cpu_seconds=1)
    assert isinstance(answer, DecoderKilled)
    assert (answer.limit, "CPU" in answer.message) == (1, True)
    assert seconds < 10


def test_a_decoder_out_of_time_is_named_with_its_limit(cost):
    answer, seconds, _ = cost(
        jpeg_with_scans(3000, (2000, 1500)),
        max_jpeg_scans=10_000,
        max_scanned_pixels=10**12,
        wall_seconds=0.5,
    )
    assert isinstance(answer, DecoderKilled)
    assert answer.limit == 0.5
    assert seconds < 2


def test_every_bad_file_gets_an_outcome(make_pool, shared_data):
    pool = make_pool(processes=2, allow_avif=True)
    outcomes = {}
    for path in sorted((shared_data / "bad-input").rglob("*")):
        if path.is_file():
            outcomes[path] = type(outcome(pool, path))
    assert len(outcomes) > 900
    assert set(outcomes.values()) <= {
        Fingerprinted,
        BrokenPicture,
        UnsupportedFormat,
        PictureTooLarge,
        DecoderKilled,
    }
    assert list(outcomes.values()).count(DecoderKilled) <= 3


def test_scans_over_very_many_pixels_are_refused_where_over_fewer_they_are_not(cost):
    answer, _, _ = cost(jpeg_with_scans(20, (7000, 7000)))
    assert isinstance(answer, BrokenPicture)
    assert "scans" in answer.message
    answer, _, _ = cost(jpeg_with_scans(20, (2000, 1500)))
    assert not isinstance(answer, Exception)
