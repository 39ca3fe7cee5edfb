"""PDFs: each picture as it is shown, a JPEG as it was put in, and processes that may die."""

import io
import os
import signal
import zlib
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
from PIL import Image, ImageDraw
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from app.errors import BrokenPicture, DecoderKilled, PictureTooLarge, UnsupportedFormat
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.sources.containers import contents_of
from app.sources.found import Skipped
from app.sources.limits import MIB, Limits
from app.sources.pdf import PdfReaders
from tests.pictures import drawn, encoded, photo
from tests.sources.made import Bytes, contents, found, jpeg, letter, pdf, pixels, refused, zipped

SIZE = (160, 120)


def raw_pdf(
    entries: str, data: bytes, *, others: tuple[tuple[str, bytes], ...] = (), size: tuple[int, int] = SIZE
) -> bytes:
    """A PDF of one page with one picture, written by hand; `others` are objects 5 and on."""
    streams = [
        (f"/Type /XObject /Subtype /Image /Width {size[0]} /Height {size[1]} {entries}", data),
        *others,
    ]
    page = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 9 0 R"
    page += " /Resources << /XObject << /P 4 0 R >> >> >>"
    objects = {
        1: b"<< /Type /Catalog /Pages 2 0 R >>",
        2: b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        3: page.encode(),
    }
    for number, (dictionary, stream) in enumerate(streams, 4):
        objects[number] = _stream(dictionary, stream)
    objects[9] = _stream("", b"q 0 100 -75 0 150 20 cm /P Do Q")
    out, offsets = io.BytesIO(b"%PDF-1.7\n"), {}
    out.seek(0, io.SEEK_END)
    for number, content in objects.items():
        offsets[number] = out.tell()
        out.write(b"%d 0 obj\n" % number + content + b"\nendobj\n")
    start = out.tell()
    out.write(b"xref\n0 1\n0000000000 65535 f \n")
    for number, offset in offsets.items():
        out.write(b"%d 1\n%010d 00000 n \n" % (number, offset))
    out.write(b"trailer << /Size 10 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start)
    return out.getvalue()


def _stream(entries: str, data: bytes) -> bytes:
    return f"<< {entries} /Length {len(data)} >>\nstream\n".encode() + data + b"\nendstream"


def flate(image: Image.Image) -> bytes:
    return zlib.compress(image.tobytes())


def apart(left: Image.Image, right: Image.Image) -> float:
    """Mean difference in levels."""
    return float(np.abs(np.asarray(left, np.int16) - np.asarray(right, np.int16)).mean())


def picture(seed: int = 1) -> Image.Image:
    return drawn(seed, SIZE)


RGB = "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /FlateDecode"
GREY = "/ColorSpace /DeviceGray /BitsPerComponent 8 /Filter /FlateDecode"
DCT = "/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /DCTDecode"
CMYK = "/ColorSpace /DeviceCMYK /BitsPerComponent 8 /Filter /DCTDecode"


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_keeps_its_bytes(pdfs, mode) -> None:
    data = encoded(photo().convert(mode))
    (item,) = found(contents(pdf([[data]]), "a.pdf", pdfs))
    assert item.data == data
    assert item.where == "a.pdf > page 1, picture 1"


def test_a_jpeg_with_a_rotation_in_its_camera_data_keeps_its_bytes(pdfs) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(photo(), exif=exif.tobytes())
    assert found(contents(pdf([[data]]), pdfs=pdfs))[0].data == data


def test_a_jpeg_in_inks_is_shown_by_the_intake_as_by_the_pdf(pdfs) -> None:
    data = encoded(photo().convert("CMYK"))
    page = pypdfium2.PdfDocument(pdf([[data]]))[0]
    shown = next(page.get_objects()).get_bitmap().to_pil().convert("RGB")
    kept = normalise(found(contents(pdf([[data]]), pdfs=pdfs))[0].data, DecodeLimits()).image
    assert apart(kept, photo()) < 4
    assert apart(kept, shown) < 40


def test_a_jpeg_in_inverted_inks_comes_as_the_pdf_shows_it(pdfs) -> None:
    data = encoded(picture().convert("CMYK"))  # Adobe's way: 255 is no ink
    right = found(contents(raw_pdf(f"{CMYK} /Decode [1 0 1 0 1 0 1 0]", data), pdfs=pdfs))[0]
    assert right.data == data
    wrong = found(contents(raw_pdf(CMYK, data), pdfs=pdfs))[0]
    assert wrong.data.startswith(b"\x89PNG")
    assert apart(pixels(wrong.data), picture()) > 64


def test_a_jpeg_with_inverted_levels_comes_as_the_pdf_shows_it(pdfs) -> None:
    data = encoded(Image.linear_gradient("L").resize(SIZE).convert("RGB"))
    (item,) = found(contents(raw_pdf(f"{DCT} /Decode [1 0 1 0 1 0]", data), pdfs=pdfs))
    assert item.data.startswith(b"\x89PNG")
    assert pixels(item.data).getpixel((80, 2)) > (200, 200, 200)


def mask() -> Image.Image:
    image = Image.new("L", SIZE, 255)
    ImageDraw.Draw(image).rectangle((40, 30, 80, 60), fill=0)
    return image


def on_white(image: Image.Image) -> Image.Image:
    return Image.composite(image, Image.new("RGB", SIZE, "white"), mask())


def test_a_jpeg_with_a_soft_mask_comes_with_it_applied(pdfs) -> None:
    soft = f"/Type /XObject /Subtype /Image /Width {SIZE[0]} /Height {SIZE[1]} {GREY}"
    data = raw_pdf(f"{DCT} /SMask 5 0 R", encoded(picture(), quality=95), others=((soft, flate(mask())),))
    (item,) = found(contents(data, pdfs=pdfs))
    assert apart(normalise(item.data, DecodeLimits()).image, on_white(picture())) < 4


def test_a_stencil_mask_and_a_colour_key_are_applied(pdfs) -> None:
    size = f"/Width {SIZE[0]} /Height {SIZE[1]}"
    stencil = f"/Type /XObject /Subtype /Image /ImageMask true {size} /BitsPerComponent 1"
    bits = Image.eval(mask(), lambda level: 255 - level).convert("1", dither=Image.Dither.NONE)
    data = raw_pdf(f"{RGB} /Mask 5 0 R", flate(picture()), others=((stencil, bits.tobytes()),))
    (item,) = found(contents(data, pdfs=pdfs))
    assert apart(normalise(item.data, DecodeLimits()).image, on_white(picture())) < 3
    keyed = picture()
    keyed.paste((1, 2, 3), (40, 30, 81, 61))
    (item,) = found(contents(raw_pdf(f"{RGB} /Mask [1 1 2 2 3 3]", flate(keyed)), pdfs=pdfs))
    assert apart(normalise(item.data, DecodeLimits()).image, on_white(picture())) < 1


def test_pixels_of_each_other_packing_come_exactly(pdfs) -> None:
    grey, bits = picture().convert("L"), picture().convert("1")
    few = picture().quantize(16)
    palette = bytes(few.getpalette() or b"")[:48].ljust(48, b"\0").hex()
    tiff = io.BytesIO()
    bits.save(tiff, "TIFF", compression="group4")
    strip = Image.open(tiff)
    fax = tiff.getvalue()[strip.tag_v2[273][0] :][: strip.tag_v2[279][0]]
    columns = f"/DecodeParms << /K -1 /Columns {SIZE[0]} /Rows {SIZE[1]} /BlackIs1 true >>"
    wavelets = encoded(picture(), "JPEG2000", irreversible=False)
    for entries, data, expected in (
        (RGB, flate(picture()), picture()),
        (GREY, flate(grey), grey.convert("RGB")),
        (f"/ColorSpace [/Indexed /DeviceRGB 15 <{palette}>] {GREY[24:]}", flate(few), few.convert("RGB")),
        (
            "/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /FlateDecode",
            flate(bits),
            bits.convert("RGB"),
        ),
        (
            f"/ColorSpace /DeviceGray /BitsPerComponent 1 /Filter /CCITTFaxDecode {columns}",
            fax,
            bits.convert("RGB"),
        ),
        ("/ColorSpace /DeviceRGB /BitsPerComponent 8 /Filter /JPXDecode", wavelets, picture()),
    ):
        (item,) = found(contents(raw_pdf(entries, data), pdfs=pdfs))
        assert apart(pixels(item.data), expected) == 0, entries


def test_pixels_in_inks_come_in_their_colours(pdfs) -> None:
    inks = "/ColorSpace /DeviceCMYK /BitsPerComponent 8 /Filter /FlateDecode"
    (item,) = found(contents(raw_pdf(inks, flate(picture().convert("CMYK"))), pdfs=pdfs))
    assert apart(pixels(item.data), picture()) < 60


def test_a_picture_on_many_pages_is_found_where_it_is_first(pdfs) -> None:
    head, logo = jpeg(7), encoded(drawn(8, (64, 48)), "PNG")
    items = found(contents(pdf([[head, logo], [head, jpeg(1), logo], [jpeg(2), head]]), pdfs=pdfs))
    assert [item.where for item in items] == [
        "input > page 1, picture 1",
        "input > page 1, picture 2",
        "input > page 2, picture 2",
        "input > page 3, picture 1",
    ]
    assert [item.data for item in items[2:]] == [jpeg(1), jpeg(2)]


def test_pictures_that_differ_by_their_mask_only_are_both_found(pdfs) -> None:
    black = Image.new("RGBA", (800, 600), (0, 0, 0, 255))
    other = black.copy()
    for image, place in ((black, (4, 4)), (other, (6, 6))):  # a sample of 64 pixels sees both alike
        marked = mask().resize(black.size)
        marked.putpixel(place, 0)
        image.putalpha(marked)
    items = found(contents(pdf([[encoded(black, "PNG"), encoded(other, "PNG")]]), pdfs=pdfs))
    assert len(items) == 2


def test_pictures_inside_forms_are_found(pdfs) -> None:
    file = io.BytesIO()
    drawing = canvas.Canvas(file)
    drawing.beginForm("inner")
    drawing.drawImage(ImageReader(io.BytesIO(jpeg())), 0, 0, 100, 100)
    drawing.endForm()
    drawing.beginForm("outer")
    drawing.doForm("inner")
    drawing.endForm()
    drawing.doForm("outer")
    drawing.save()
    assert [item.data for item in found(contents(file.getvalue(), pdfs=pdfs))] == [jpeg()]


def with_file(name: str, data: bytes) -> bytes:
    document = pypdfium2.PdfDocument(pdf([[jpeg(9)]]))
    document.new_attachment(name).set_data(data)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_files_in_a_pdf_are_opened(pdfs) -> None:
    inner = pdf([[jpeg(2)]])
    data = with_file("ü.zip", zipped([("a.jpg", jpeg(1)), ("b.pdf", inner)]))
    items = found(contents(data, "a.pdf", pdfs))
    assert [item.where for item in items] == [
        "a.pdf > page 1, picture 1",
        "a.pdf > ü.zip > a.jpg",
        "a.pdf > ü.zip > b.pdf > page 1, picture 1",
    ]
    assert [item.data for item in items[1:]] == [jpeg(1), jpeg(2)]
    assert items[1].source["within"][0] == {"kind": "pdf", "name": "ü.zip", "position": 1}


def test_a_large_file_in_a_pdf_comes_whole(pdfs) -> None:
    large = jpeg() + np.random.default_rng(1).bytes(6 * MIB)
    assert found(contents(with_file("a.jpg", large), pdfs=pdfs))[1].data == large


def test_a_pdf_behind_lines_of_a_mailer_is_read(pdfs) -> None:
    assert found(contents(b"--boundary\r\n\r\n" + pdf([[jpeg()]]), pdfs=pdfs))[0].data == jpeg()


def test_a_pdf_that_needs_a_password_is_refused_and_one_that_only_forbids_printing_is_read(pdfs) -> None:
    locked = pdf([[jpeg()]], encrypt=StandardEncryption("user", "owner"))
    (item,) = contents(locked, pdfs=pdfs)
    assert isinstance(item.error, UnsupportedFormat)
    assert "encrypted" in item.error.message
    forbidding = pdf([[jpeg()]], encrypt=StandardEncryption("", "owner", canPrint=0))
    assert found(contents(forbidding, pdfs=pdfs))[0].data == jpeg()


def test_a_pdf_that_is_none_is_refused_and_the_next_one_read(pdfs) -> None:
    items = contents(zipped([("a.pdf", b"%PDF-1.7\n garbage"), ("b.pdf", pdf([[jpeg()]]))]), pdfs=pdfs)
    assert isinstance(items[0].error, BrokenPicture)
    assert items[1].data == jpeg()


def test_lines_and_dots_are_skipped(pdfs) -> None:
    items = contents(
        pdf([[encoded(drawn(1, (400, 15)), "PNG"), encoded(drawn(1, (16, 16)), "PNG")]]), pdfs=pdfs
    )
    assert isinstance(items[0], Skipped)
    assert len(found(items)) == 1


def limited(data: bytes, **limits: float) -> list:
    bounds = Limits(**limits)
    with PdfReaders(bounds) as readers:
        return list(contents_of(Bytes(data), bounds, readers))


def test_pages_pictures_pixels_and_bytes_are_bounded() -> None:
    data = pdf([[jpeg(1), jpeg(2)], [jpeg(3)]])
    items = limited(data, max_pages=1)
    assert (len(found(items)), refused(items)[0].error.limit) == (2, 1)
    items = limited(data, max_pictures=1)
    assert (len(found(items)), refused(items)[0].error.limit) == (1, 1)
    items = limited(pdf([[jpeg(1, (80, 80)), jpeg(2)]]), max_pixels=64 * 48)
    assert (len(found(items)), refused(items)[0].error.limit) == (1, 64 * 48)
    assert isinstance(refused(items)[0].error, PictureTooLarge)
    items = limited(data, max_file_bytes=100)
    assert {item.error.limit for item in refused(items)} == {100}
    assert not found(items)


def test_a_png_over_the_limit_becomes_a_jpeg() -> None:
    noisy = Image.fromarray(np.random.default_rng(1).integers(100, 140, (120, 160, 3), dtype=np.uint8))
    (item,) = limited(raw_pdf(RGB, flate(noisy)), max_file_bytes=40_000)
    assert item.data.startswith(b"\xff\xd8\xff")
    assert apart(pixels(item.data), noisy) < 4


def test_what_takes_too_much_memory_is_refused_and_the_next_pdf_read() -> None:
    bomb = raw_pdf(RGB, flate(Image.new("RGB", (7000, 7000))), size=(7000, 7000))
    items = limited(zipped([("a.pdf", bomb), ("b.pdf", pdf([[jpeg()]]))]), pdf_memory_bytes=200 * MIB)
    assert [item.error.limit for item in refused(items)] == [200 * MIB]
    assert [item.data for item in found(items)] == [jpeg()]


def test_what_takes_too_long_is_refused_and_the_next_pdf_read() -> None:
    slow = pdf([[encoded(Image.effect_noise((2500, 2500), 90), quality=95)]])
    items = limited(zipped([("a.pdf", slow), ("b.pdf", pdf([[jpeg()]]))]), pdf_wall_seconds=0.06)
    assert isinstance(items[0].error, DecoderKilled)
    assert [item.data for item in found(items)] == [jpeg()]


def test_a_process_that_dies_costs_one_pdf_only() -> None:
    bounds = Limits()
    many = pdf([[jpeg(number) for number in range(6)]])
    with PdfReaders(bounds) as readers:
        walk = contents_of(Bytes(zipped([("a.pdf", many), ("b.pdf", pdf([[jpeg()]]))])), bounds, readers)
        first = next(walk)
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        items = [first, *walk]
        assert isinstance(refused(items)[0].error, DecoderKilled)
        assert "crashed" in refused(items)[0].error.message
        assert found(items)[-1].data == jpeg()
        # The one that is idle may die too.
        (child,) = children()
        os.kill(child, signal.SIGKILL)
        assert found(contents_of(Bytes(many), bounds, readers))
    assert not children()


def children() -> list[int]:
    """Processes of this one that read PDFs, other than the ones that all tests share."""
    return [pid for pid in _started() if pid not in SHARED]


def _started() -> list[int]:
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [
        pid for pid in map(int, text.split()) if b"pdf_process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


SHARED: set[int] = set()


@pytest.fixture(autouse=True)
def _shared() -> None:
    SHARED.update(_started())


def test_one_process_serves_many_pdfs() -> None:
    bounds = Limits()
    with PdfReaders(bounds) as readers:
        pids = set()
        for number in range(4):
            assert found(contents_of(Bytes(pdf([[jpeg(number)]])), bounds, readers))
            pids.update(children())
        assert len(pids) == 1


def test_the_process_has_no_secrets_in_its_environment(monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    bounds = Limits()
    with PdfReaders(bounds) as readers:
        assert found(contents_of(Bytes(pdf([[jpeg()]])), bounds, readers))
        (child,) = children()
        assert b"secret" not in Path(f"/proc/{child}/environ").read_bytes()


def test_a_pdf_that_is_left_unfinished_leaves_nothing_behind() -> None:
    walk = contents_of(Bytes(pdf([[jpeg(1), jpeg(2)]])))
    assert next(walk).data == jpeg(1)
    walk.close()
    assert not children()


def test_a_mail_with_a_pdf_and_its_photo_has_the_same_bytes_twice(pdfs) -> None:
    items = found(contents(bytes(letter([("a.jpg", jpeg()), ("b.pdf", pdf([[jpeg()]]))])), pdfs=pdfs))
    assert [item.data for item in items] == [jpeg(), jpeg()]
