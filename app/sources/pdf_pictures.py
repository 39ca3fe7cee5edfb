"""The pictures of an open PDF, as its process finds them. Runs in that process only."""

import ctypes
import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image
from pypdfium2 import raw as pdfium

from app.errors import BrokenPicture, ClaimprintError, PictureTooLarge, UnsupportedFormat
from app.sources.limits import Limits

_SAMPLE_SIDE = 64
_JPEG = b"\xff\xd8\xff"
# Pillow and PDFium show the same JPEG 0 to 2 levels apart at this size; CMYK, which both convert in their own
# way, 22 on photographs and up to 60 on pure inks; with inverted inks 100 and more.
_SAME_LEVELS = 64.0
# A photo of 12 megapixels: 8.3 MB in 1.1 s; level 6 takes 3.2 s for 6.6 MB.
_PNG_LEVEL = 1
_GREY_DEPTHS = {1, 8}
_DEEPEST_FORM = 15
_FILE_NOTE = pdfium.FPDF_ANNOT_FILEATTACHMENT


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on a page; both numbers from 1."""

    page: int
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class File:
    """A file in the PDF."""

    name: str
    position: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """What can't be taken; without a page a file, without a position the page or the rest of the PDF."""

    page: int | None
    position: int | None
    error: ClaimprintError
    name: str = ""


@dataclass(frozen=True, slots=True)
class Small:
    """A picture that is too small to be one."""

    page: int
    position: int


Item = Picture | File | Refusal | Small


def open_pdf(path: str) -> pypdfium2.PdfDocument:
    """Open a PDF. Raises UnsupportedFormat for an encrypted one, BrokenPicture."""
    # By PDFium itself: pypdfium2 would look for the name that a file without one once had.
    opened = pdfium.FPDF_LoadDocument(path.encode(), None)
    if opened:
        return pypdfium2.PdfDocument(opened)
    if pdfium.FPDF_GetLastError() == pdfium.FPDF_ERR_PASSWORD:
        raise UnsupportedFormat("The PDF is encrypted: it opens with a password only.")
    raise BrokenPicture("The PDF can't be read: its structure makes no sense.")


def items_of(pdf: pypdfium2.PdfDocument, limits: Limits) -> Iterator[Item]:
    """Yield the pictures of all pages in order, then the files; a picture that is there again is left out."""
    reading = _Reading(limits)
    for number in range(1, min(len(pdf), limits.max_pages) + 1):
        yield from reading.of_page(pdf, number)
    if len(pdf) > limits.max_pages:
        error = BrokenPicture(f"The PDF has more than {limits.max_pages} pages.", limit=limits.max_pages)
        yield Refusal(limits.max_pages + 1, None, error)
    yield from reading.of_files(pdf)


class _Reading:
    def __init__(self, limits: Limits):
        self.limits = limits
        self._seen: set[bytes] = set()
        self._pictures = 0
        self._files = 0

    def of_page(self, pdf: pypdfium2.PdfDocument, number: int) -> Iterator[Item]:
        try:
            page = pdf[number - 1]
        except pypdfium2.PdfiumError:
            yield Refusal(number, None, BrokenPicture(f"Page {number} of the PDF can't be read."))
            return
        position = 0
        try:
            for image in page.get_objects(filter=[pdfium.FPDF_PAGEOBJ_IMAGE], max_depth=_DEEPEST_FORM):
                position += 1
                self._pictures += 1
                if self._pictures > self.limits.max_pictures:
                    limit = self.limits.max_pictures
                    error = BrokenPicture(f"The PDF has more than {limit} pictures.", limit=limit)
                    yield Refusal(number, position, error)
                    return
                yield from self._of_image(image, number, position)
            yield from self._attached_to(page)
        except pypdfium2.PdfiumError:
            yield Refusal(number, None, BrokenPicture(f"Page {number} of the PDF can't be read to its end."))
        finally:
            page.close()

    def _of_image(self, image: pypdfium2.PdfImage, page: int, position: int) -> Iterator[Item]:
        try:
            size = image.get_px_size()
            if min(size) < self.limits.min_side:
                yield Small(page, position)
                return
            if size[0] * size[1] > self.limits.max_pixels:
                limit = self.limits.max_pixels
                raise PictureTooLarge(f"The picture has more than {limit} pixels, the limit.", limit=limit)
            data = self._bytes_of(image, size)
        except ClaimprintError as error:
            yield Refusal(page, position, error)
        except (pypdfium2.PdfiumError, OSError, ValueError):
            # PDFium says no more than that; it may also be out of memory.
            yield Refusal(page, position, BrokenPicture("The picture in the PDF can't be decoded."))
        else:
            if data is not None:
                yield Picture(page, position, data)

    def _bytes_of(self, image: pypdfium2.PdfImage, size: tuple[int, int]) -> bytes | None:
        """Return a file for the picture: its own JPEG where it looks like that, or else a PNG; None if seen."""
        packed = bytes(image.get_data(decode_simple=False))
        scale = min(1.0, _SAMPLE_SIDE / max(size))
        sample = _rendered(image, (max(1, round(size[0] * scale)), max(1, round(size[1] * scale))))
        opaque = sample.getchannel("A").getextrema()[0] == 255
        key = hashlib.sha256(packed + sample.tobytes() + repr(size).encode())
        whole = None
        if not opaque:
            # What shows through may differ by less than a sample tells.
            whole = _rendered(image, size)
            key.update(whole.tobytes())
        if key.digest() in self._seen:
            return None
        self._seen.add(key.digest())
        del packed
        if opaque and image.get_filters(skip_simple=True) == ["DCTDecode"]:
            jpeg = bytes(image.get_data(decode_simple=True))
            if _looks_like(jpeg, sample):
                if len(jpeg) > self.limits.max_file_bytes:
                    limit = self.limits.max_file_bytes
                    raise PictureTooLarge(f"The picture has more than {limit} bytes, the limit.", limit=limit)
                return jpeg
        return self._written(whole or _rendered(image, size), image)

    def _written(self, picture: Image.Image, image: pypdfium2.PdfImage) -> bytes:
        if picture.getchannel("A").getextrema()[0] == 255:
            grey = (
                image.get_metadata().colorspace == pdfium.FPDF_COLORSPACE_DEVICEGRAY
                and image.get_metadata().bits_per_pixel in _GREY_DEPTHS
            )
            picture = picture.convert("L" if grey else "RGB")
        file = io.BytesIO()
        picture.save(file, "PNG", compress_level=_PNG_LEVEL)
        if file.tell() > self.limits.max_file_bytes and picture.mode != "RGBA":
            # Better with the traces of a mild compression, which no fingerprint sees, than not at all.
            file = io.BytesIO()
            picture.save(file, "JPEG", quality=95, subsampling="4:4:4")
        if file.tell() > self.limits.max_file_bytes:
            limit = self.limits.max_file_bytes
            raise PictureTooLarge(f"The picture has more than {limit} bytes as PNG, the limit.", limit=limit)
        return file.getvalue()

    def of_files(self, pdf: pypdfium2.PdfDocument) -> Iterator[Item]:
        for index in range(pdf.count_attachments()):
            yield self._file(pdfium.FPDFDoc_GetAttachment(pdf, index), pdf)

    def _attached_to(self, page: pypdfium2.PdfPage) -> Iterator[Item]:
        """Files that are pinned to a place on the page."""
        for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
            note = pdfium.FPDFPage_GetAnnot(page, index)
            if not note:
                continue
            try:
                if pdfium.FPDFAnnot_GetSubtype(note) == _FILE_NOTE:
                    yield self._file(pdfium.FPDFAnnot_GetFileAttachment(note), page.pdf)
            finally:
                pdfium.FPDFPage_CloseAnnot(note)

    def _file(self, attachment: Any, pdf: pypdfium2.PdfDocument) -> Item:
        self._files += 1
        name = ""
        try:
            if not attachment:
                raise BrokenPicture("The file in the PDF can't be read.")
            attached = pypdfium2.PdfAttachment(attachment, pdf)
            name = attached.get_name()
            byte_count = ctypes.c_ulong()
            pdfium.FPDFAttachment_GetFile(attached, None, 0, byte_count)
            if byte_count.value > self.limits.max_nested_bytes:
                limit = self.limits.max_nested_bytes
                raise BrokenPicture(f"The file in the PDF has more than {limit} bytes.", limit=limit)
            return File(name, self._files, bytes(attached.get_data()))
        except ClaimprintError as error:
            return Refusal(None, self._files, error, name)
        except (pypdfium2.PdfiumError, UnicodeDecodeError) as error:
            return Refusal(
                None, self._files, BrokenPicture(f"The file in the PDF can't be read: {error}."), name
            )


def _rendered(image: pypdfium2.PdfImage, size: tuple[int, int]) -> Image.Image:
    """The picture alone, RGBA, upright and unskewed however it lies on its page, with all its masks."""
    lies = image.get_matrix()
    image.set_matrix(pypdfium2.PdfMatrix(size[0], 0, 0, size[1], 0, 0))
    try:
        bitmap = image.get_bitmap(render=True, scale_to_original=False)
    finally:
        image.set_matrix(lies)
    shown: Image.Image = bitmap.to_pil()
    return shown.convert("RGBA")


def _looks_like(jpeg: bytes, sample: Image.Image) -> bool:
    """Whether a JPEG file on its own shows what the PDF does: no inverted inks, no other colours, no mask."""
    if not jpeg.startswith(_JPEG):
        return False
    try:
        with Image.open(io.BytesIO(jpeg), formats=("JPEG",)) as image:
            image.draft("RGB", (2 * sample.width, 2 * sample.height))
            shown = image.convert("RGB").resize(sample.size, Image.Resampling.BOX)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, PDFium has shown something
        return False
    levels = np.asarray(sample.convert("RGB"), np.int16) - np.asarray(shown, np.int16)
    return float(np.abs(levels).mean()) <= _SAME_LEVELS
