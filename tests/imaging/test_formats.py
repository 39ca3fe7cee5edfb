"""The format by content, and the structures that are refused before a decoder sees them."""

import io
import time
from contextlib import suppress

import pytest
from PIL import Image

from app.errors import BrokenPicture, PictureTooLarge, UnsupportedFormat
from app.imaging.formats import check_jpeg_scans, checked_format
from app.imaging.limits import DecodeLimits
from tests.imaging.drawn import chunk, encoded, jpeg_with_scans, png, scene

LIMITS = DecodeLimits()
ALL = DecodeLimits(allow_avif=True, allow_heic=True)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_the_format_is_judged_by_content(name):
    assert checked_format(encoded(scene(), name), LIMITS) == name


def test_big_endian_and_big_tiff_are_tiff():
    for magic in (b"MM\0*", b"II*\0", b"MM\0+", b"II+\0"):
        assert checked_format(magic + bytes(20), LIMITS) == "TIFF"


def test_a_multi_picture_file_is_a_jpeg():
    frames = [scene(seed=seed) for seed in (1, 2)]
    assert (
        checked_format(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]), LIMITS) == "JPEG"
    )


def test_avif_and_heic_are_refused_by_the_name_of_their_setting():
    avif = encoded(scene(), "AVIF")
    with pytest.raises(UnsupportedFormat, match="ALLOW_AVIF"):
        checked_format(avif, LIMITS)
    with pytest.raises(UnsupportedFormat, match="ALLOW_HEIC"):
        checked_format(HEIC, LIMITS)
    assert checked_format(avif, ALL) == "AVIF"
    assert checked_format(HEIC, ALL) == "HEIF"


@pytest.mark.parametrize(
    "data", [b"\0", b"%PDF-1.7", b"<svg>", b"\xff\xd8", b"\0\0\0\x18ftypmp42" + bytes(20)]
)
def test_what_is_no_picture_is_unsupported(data):
    with pytest.raises(UnsupportedFormat):
        checked_format(data, LIMITS)


def test_an_empty_file_is_broken():
    with pytest.raises(BrokenPicture, match="empty"):
        checked_format(b"", LIMITS)


def test_the_limit_on_bytes_is_inclusive_and_named():
    data = encoded(scene(), "PNG")
    assert checked_format(data, DecodeLimits(max_file_bytes=len(data))) == "PNG"
    with pytest.raises(PictureTooLarge, match=str(len(data) - 1)) as refused:
        checked_format(data, DecodeLimits(max_file_bytes=len(data) - 1))
    assert refused.value.limit == len(data) - 1


def test_a_hundred_scans_pass_and_one_more_does_not():
    scans = jpeg_with_scans(0).count(b"\xff\xda")
    check_jpeg_scans(jpeg_with_scans(100 - scans), 100)
    with pytest.raises(BrokenPicture, match="100 scans") as refused:
        check_jpeg_scans(jpeg_with_scans(101 - scans), 100)
    assert refused.value.limit == 100


def test_ten_thousand_scans_are_counted_in_no_time():
    data = jpeg_with_scans(10_000)
    started = time.process_time()
    with pytest.raises(BrokenPicture):
        check_jpeg_scans(data, 100)
    assert time.process_time() - started < 0.1


def test_scans_with_filling_before_their_marker_are_counted():
    data = jpeg_with_scans(200).replace(b"\xff\xda", b"\xff\xff\xff\xda")
    with pytest.raises(BrokenPicture, match="scans"):
        check_jpeg_scans(data, 100)


def test_long_filling_costs_no_more_than_other_bytes():
    data = b"\xff\xd8" + b"\xff\xe0\x00\xca" + b"\xff\xda" * 100 + b"\xff" * 20_000_000 + b"\xda" * 9
    started = time.process_time()
    check_jpeg_scans(data + b"\xff\xda", 100)
    assert time.process_time() - started < 2


def test_what_looks_like_scans_in_metadata_or_behind_the_picture_is_not_counted():
    plain = encoded(scene(), "JPEG")
    metadata = b"\xff\xe5" + (2 + 600).to_bytes(2, "big") + b"\xff\xda" * 300
    check_jpeg_scans(plain[:2] + metadata + plain[2:], 100)
    check_jpeg_scans(plain + b"\0\x02" + b"\xff\xda\0\x02" * 300, 100)


def test_scans_after_a_thumbnails_end_of_image_are_counted():
    data = jpeg_with_scans(200)
    thumbnail = b"\xff\xe1" + (2 + 4).to_bytes(2, "big") + b"\xff\xd8\xff\xd9"
    with pytest.raises(BrokenPicture, match="scans"):
        check_jpeg_scans(data[:2] + thumbnail + data[2:], 100)


def test_a_million_text_chunks_are_refused():
    data = png(8, 8, extra=chunk(b"tEXt", b"k\0v") * 1_000_000)
    started = time.process_time()
    with pytest.raises(BrokenPicture, match="1000 chunks") as refused:
        checked_format(data, LIMITS)
    assert time.process_time() - started < 0.1
    assert refused.value.limit == 1000


def test_a_png_cut_into_whole_pieces_of_image_data_passes_and_crumbs_do_not():
    pieces = chunk(b"IDAT", bytes(4096)) * 3000
    assert checked_format(png(8, 8, extra=pieces), LIMITS) == "PNG"
    with pytest.raises(BrokenPicture, match="chunks"):
        checked_format(png(8, 8, extra=chunk(b"IDAT", b"x") * 3000), LIMITS)


@pytest.mark.parametrize(("colour", "depth"), [(0, 1), (0, 8), (0, 16), (2, 8), (2, 16), (6, 8)])
def test_a_png_of_one_colour_packs_as_tightly_as_any_and_passes(colour, depth):
    assert checked_format(png(3000, 2000, colour=colour, depth=depth), LIMITS) == "PNG"


def test_a_png_with_less_data_than_its_header_claims_is_refused():
    with pytest.raises(BrokenPicture, match="4000 x 4000"):
        checked_format(png(4000, 4000, rows=10), LIMITS)


def test_sequential_picture_with_its_scan_repeated_costs_the_decoder_one():
    """The decoder gives up at the second scan of all components: so such files are not searched for more."""
    whole = encoded(scene(1600, 1200), "JPEG")
    scan = whole.rindex(b"\xff\xda")
    repeated = whole[:-2] + whole[scan:-2] * 40 + b"\xff\xd9"
    check_jpeg_scans(repeated, 1)
    once, often = (min(cpu_seconds(data) for _ in range(3)) for data in (whole, repeated))
    assert often < 3 * once


def test_a_scan_of_one_component_is_not_the_only_one():
    whole = encoded(scene(), "JPEG")
    scan = whole.rindex(b"\xff\xda")
    # The first scan says that it has one component of three: what follows is counted.
    lying = whole[: scan + 4] + b"\1" + whole[scan + 5 : -2] + b"\xff\xda\0\2" * 200 + whole[-2:]
    with pytest.raises(BrokenPicture, match="scans"):
        check_jpeg_scans(lying, 100)


def cpu_seconds(data):
    started = time.process_time()
    with suppress(OSError), Image.open(io.BytesIO(data)) as image:
        image.load()
    return time.process_time() - started
