"""One normalised picture from every kind of file."""

import datetime as dt

import numpy as np
import pytest
from PIL import ExifTags, Image

from app.errors import BrokenPicture, PictureTooLarge
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from tests.imaging.drawn import encoded, png, scene

LIMITS = DecodeLimits(allow_avif=True)
LOSSLESS = ["PNG", "BMP", "TIFF", "GIF"]
CLOSE = 8  # bits: a GIF has 256 colours only, and another picture is about 32 away


def phash(picture):
    return fingerprint(picture.image).hashes["phash"]


@pytest.mark.parametrize("name", [*LOSSLESS, "JPEG", "WEBP", "AVIF"])
def test_every_format_becomes_the_same_small_upright_rgb(name):
    picture = normalise(encoded(scene(1200, 800), name), LIMITS)
    assert picture.image.mode == "RGB"
    assert picture.image.size == (512, 341)
    assert (picture.format, picture.width, picture.height) == (name, 1200, 800)
    original = normalise(encoded(scene(1200, 800), "PNG"), LIMITS)
    assert (phash(picture) ^ phash(original)).bit_count() <= CLOSE


@pytest.mark.parametrize(("size", "small"), [((512, 3), (512, 3)), ((5000, 2), (512, 1)), ((1, 1), (1, 1))])
def test_small_and_thin_pictures_are_never_enlarged_nor_vanish(size, small):
    assert normalise(encoded(scene(*size), "PNG"), LIMITS).image.size == small


@pytest.mark.parametrize("name", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("value", range(1, 9))
def test_exif_orientation_is_applied(name, value):
    upright = scene(640, 480)
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Pillow's transpose that the tag undoes
    stored = upright.transpose(undo[value]) if value > 1 else upright
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = value
    picture = normalise(encoded(stored, name, exif=exif), LIMITS)
    assert (picture.width, picture.height) == (640, 480)
    assert picture.image.size == (512, 384)
    difference = np.abs(
        np.asarray(picture.image, int) - np.asarray(normalise(encoded(upright, name), LIMITS).image, int)
    )
    assert difference.mean() < 2  # WebP is lossy; another orientation differs by more than 30


def test_a_senseless_orientation_is_ignored():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 99
    assert normalise(encoded(scene(), "JPEG", exif=exif), LIMITS).width == 640


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_shows_white(mode):
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0))
    image = clear if mode != "LA" else clear.convert("LA")
    data = encoded(image if mode != "PA" else clear.quantize(4), "PNG")
    assert normalise(data, LIMITS).image.getextrema() == ((255, 255),) * 3


def test_half_transparency_is_mixed_with_white():
    data = encoded(Image.new("RGBA", (20, 10), (0, 0, 0, 128)), "PNG")
    assert normalise(data, LIMITS).image.getpixel((5, 5)) == (127, 127, 127)


def test_a_transparent_colour_of_a_palette_shows_white():
    image = Image.new("P", (20, 10), 1)
    image.putpalette([9, 9, 9, 50, 60, 70])
    data = encoded(image, "GIF", transparency=1)
    assert normalise(data, LIMITS).image.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(name):
    ramp = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (20, 1))
    row = np.asarray(normalise(encoded(Image.fromarray(ramp), name), LIMITS).image)[10, :, 0].astype(int)
    assert np.abs(row - np.arange(256)).max() <= 1


@pytest.mark.parametrize(("kind", "top"), [(np.int32, 70000), (np.float32, 0.5)])
def test_thirty_two_bit_grey_is_stretched(kind, top):
    ramp = np.tile(np.linspace(0, top, 256).astype(kind), (20, 1))
    row = np.asarray(normalise(encoded(Image.fromarray(ramp), "TIFF"), LIMITS).image)[10, :, 0].astype(int)
    assert np.abs(row - np.arange(256)).max() <= 1


def test_floats_that_are_not_numbers_are_no_error():
    values = np.full((20, 20), np.nan, np.float32)
    values[0, 0], values[1, 1] = np.inf, 3
    assert normalise(encoded(Image.fromarray(values), "TIFF"), LIMITS).image.size == (20, 20)


def test_cmyk_is_converted():
    data = encoded(Image.new("CMYK", (64, 64), (0, 255, 255, 0)), "JPEG", quality=95)
    red, green, blue = normalise(data, LIMITS).image.getpixel((30, 30))
    assert red > 240
    assert max(green, blue) < 15


def test_only_the_first_frame_is_taken():
    first, second = scene(320, 240, 1), scene(320, 240, 2)
    for name in ("GIF", "TIFF", "WEBP", "MPO", "PNG"):
        data = encoded(first, name, save_all=True, append_images=[second])
        assert (
            phash(normalise(data, LIMITS)) ^ phash(normalise(encoded(first, "PNG"), LIMITS))
        ).bit_count() <= CLOSE


def test_pixels_are_limited_by_the_header_alone():
    limits = DecodeLimits(max_pixels=100)
    assert normalise(png(10, 10), limits).width == 10
    with pytest.raises(PictureTooLarge, match="100 pixels") as refused:
        normalise(png(101, 1, rows=0), limits)
    assert refused.value.limit == 100


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_a_truncated_file_is_broken(name):
    whole = encoded(scene(), name)
    with pytest.raises(BrokenPicture) as refused:
        normalise(whole[: len(whole) // 2], LIMITS)
    assert "0x" not in refused.value.message
    assert len(refused.value.message) < 200


def test_a_wrong_checksum_is_broken():
    data = bytearray(encoded(scene(), "PNG"))
    data[29] ^= 1
    with pytest.raises(BrokenPicture):
        normalise(bytes(data), LIMITS)


def test_camera_facts_are_read():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    exif[ExifTags.Base.Model] = "One\0hidden"
    exif[ExifTags.Base.Software] = "  edit\x07or  "
    camera = exif.get_ifd(ExifTags.IFD.Exif)
    camera[ExifTags.Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    camera[ExifTags.Base.OffsetTimeOriginal] = "+02:00"
    camera[ExifTags.Base.FNumber] = 2.8
    facts = normalise(encoded(scene(), "JPEG", exif=exif), LIMITS).facts
    assert (facts.make, facts.model, facts.software) == ("Acme", "One", "editor")
    assert facts.taken_at == dt.datetime(2024, 5, 6, 5, 8, 9, tzinfo=dt.UTC)
    assert facts.exif["FNumber"] == 2.8


def test_hostile_text_is_cut_and_cleaned():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "\ud800x".encode("utf-8", "surrogatepass").decode("latin-1") + "y" * 5000
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = "0000:00:00 00:00:00"
    facts = normalise(encoded(scene(), "JPEG", exif=exif), LIMITS).facts
    assert facts.taken_at is None
    assert facts.make is not None
    assert len(facts.make) <= 200
    facts.make.encode()
    assert facts.make.isprintable()


def test_damaged_exif_is_no_reason_to_refuse():
    for junk in (b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0" + bytes(range(256)) * 8):
        assert normalise(encoded(scene(), "JPEG", exif=junk), LIMITS).facts.make is None


def test_the_position_is_kept_only_when_asked_for():
    exif = Image.Exif()
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[ExifTags.GPS.GPSLatitudeRef], gps[ExifTags.GPS.GPSLatitude] = "S", (10.0, 30.0, 0.0)
    gps[ExifTags.GPS.GPSLongitudeRef], gps[ExifTags.GPS.GPSLongitude] = "E", (20.0, 0.0, 36.0)
    data = encoded(scene(), "JPEG", exif=exif)
    assert "GPSLatitude" not in normalise(data, LIMITS).facts.exif
    kept = normalise(data, DecodeLimits(keep_gps=True)).facts.exif
    assert (kept["GPSLatitude"], kept["GPSLongitude"]) == (-10.5, 20.01)


def test_pixel_sha256_is_of_the_pixels_and_their_shape_alone():
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Acme"
    plain, tagged = encoded(scene(), "PNG"), encoded(scene(), "PNG", exif=exif)
    assert plain != tagged
    assert normalise(plain, LIMITS).pixel_sha256() == normalise(tagged, LIMITS).pixel_sha256()
    wide, tall = Image.new("RGB", (20, 10)), Image.new("RGB", (10, 20))
    assert (
        normalise(encoded(wide, "PNG"), LIMITS).pixel_sha256()
        != normalise(encoded(tall, "PNG"), LIMITS).pixel_sha256()
    )


def test_resized_and_recompressed_copies_of_camera_files_stay_close(shared_data):
    for path in sorted((shared_data / "camera").iterdir()):
        original = fingerprint(normalise(path.read_bytes(), LIMITS).image)
        with Image.open(path) as opened:
            half = opened.convert("RGB").resize((opened.width // 2, opened.height // 2))
        copy = fingerprint(normalise(encoded(half, "JPEG", quality=75), LIMITS).image)
        distances = {name: (value ^ copy.hashes[name]).bit_count() for name, value in original.hashes.items()}
        assert max(distances.values()) <= 4, (path.name, distances)


def test_the_eight_exif_orientations_of_a_scene_share_one_fingerprint(shared_data):
    for kind in ("Landscape", "Portrait"):
        found = [
            fingerprint(
                normalise(
                    (shared_data / "exif-orientation" / f"{kind}_{value}.jpg").read_bytes(), LIMITS
                ).image
            )
            for value in range(1, 9)
        ]
        for each in found[1:]:
            assert (each.hashes["phash"] ^ found[0].hashes["phash"]).bit_count() <= 4
            assert (each.hashes["dhash"] ^ found[0].hashes["dhash"]).bit_count() <= 4


def test_a_damaged_multi_picture_index_does_not_spoil_the_first_picture():
    data = encoded(scene(seed=1), "MPO", save_all=True, append_images=[scene(seed=2)])
    for damaged in (data.replace(b"MPF\0", b"MPF\0\xff\xff", 1), data.replace(b"\x01\xb0", b"\x09\xb0", 1)):
        assert damaged != data
        assert normalise(damaged, LIMITS).format == "JPEG"
