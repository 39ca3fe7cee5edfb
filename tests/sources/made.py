"""Containers for tests, made by the writers that people use."""

import io
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from functools import cache

from aspose.email_foss import msg
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from app.sources.containers import Content, contents_of
from app.sources.found import Found, Refused
from app.sources.limits import Limits
from app.sources.pdf import PdfReaders
from tests.pictures import drawn, encoded

SENT_AT = datetime(2025, 12, 31, 10, 30, tzinfo=UTC)
_CLIENT_SUBMIT_TIME = 0x0039


@dataclass(frozen=True)
class Bytes:
    """A source that lies in memory."""

    data: bytes
    name: str = "input"

    @property
    def byte_count(self) -> int:
        return len(self.data)

    def open(self) -> io.BytesIO:
        return io.BytesIO(self.data)


def contents(
    data: bytes, name: str = "input", pdfs: PdfReaders | None = None, **limits: int
) -> list[Content]:
    return list(contents_of(Bytes(data, name), Limits(**limits), pdfs))  # type: ignore[arg-type]


def found(items: Iterable[Content]) -> list[Found]:
    return [item for item in items if isinstance(item, Found)]


def refused(items: Iterable[Content]) -> list[Refused]:
    return [item for item in items if isinstance(item, Refused)]


@cache
def jpeg(seed: int = 1, size: tuple[int, int] = (64, 48)) -> bytes:
    return encoded(drawn(seed, size))


def zipped(
    members: Sequence[tuple[str, bytes]], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
        archive.comment = comment
    return file.getvalue()


def tarred(members: Sequence[tuple[str, bytes]], mode: str = "w:", **options: int) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, **options) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


def letter(
    attached: Sequence[tuple[str, bytes]] = (), subject: str = "Claim KD-7", text: str = "See below."
) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Anna Müller <anna@example.org>"
    message["To"] = "claims@example.org"
    message["Subject"] = subject
    message["Date"] = "Wed, 31 Dec 2025 11:30:00 +0100"
    message.set_content(text)
    for name, data in attached:
        kind = "image/jpeg" if name.endswith(".jpg") else "application/octet-stream"
        main, _, sub = kind.partition("/")
        message.add_attachment(data, maintype=main, subtype=sub, filename=name)
    return message


def outlook(
    attached: Sequence[tuple[str, bytes]] = (),
    embedded: Sequence[tuple[str, msg.MapiMessage]] = (),
    subject: str = "Claim KD-7",
) -> msg.MapiMessage:
    message = msg.MapiMessage.create(subject, "See below.")
    message.set_property(msg.PropertyId.SENDER_NAME, "Anna Müller")
    message.set_property(msg.PropertyId.SENDER_EMAIL_ADDRESS, "anna@example.org")
    message.set_property(_CLIENT_SUBMIT_TIME, msg.PropertyTypeCode.PTYP_TIME, SENT_AT)
    for name, data in attached:
        message.add_attachment(name, data, mime_type="application/octet-stream")
    for name, inner in embedded:
        message.add_embedded_message_attachment(inner, filename=name)
    return message


def pdf(pages: Sequence[Sequence[bytes]], **options: object) -> bytes:
    """A PDF with pictures on its pages; PNG ones with transparency keep it as a mask."""
    file = io.BytesIO()
    drawing = canvas.Canvas(file, **options)
    for pictures in pages:
        for number, picture in enumerate(pictures):
            drawing.drawImage(ImageReader(io.BytesIO(picture)), 40, 40 + 110 * number, 160, 100, mask="auto")
        drawing.showPage()
    drawing.save()
    return file.getvalue()


def pixels(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")
