"""`python -m examples.audit FOLDER`: a small archive of claims, taken in and reported, as README.md shows it.

The photographs are those inside scikit-image's wheel, edited as `benchmarks.suite` does; the others are drawn.
The folder gets the archive, the collection and `audit.html`; with Chromium at hand, its picture as well.
"""

import io
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from email.message import EmailMessage
from pathlib import Path

import click
import skimage.data
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen import canvas

from benchmarks.scenes import drawn_scene
from benchmarks.suite import edit

PATTERN = r"^(?P<claim>KD-\d{4}-\d{4})"
STRANGERS = 12
WINDOW = 1180


def photo(name: str) -> Image.Image:
    return Image.fromarray(getattr(skimage.data, name)()).convert("RGB")


def jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=88)
    return file.getvalue()


def edited(name: str, picture: Image.Image) -> bytes:
    others = [drawn_scene(9_000_000 + number) for number in range(3)]
    return edit(name, picture, others, seed=3).jpeg


def mail(subject: str, pictures: Mapping[str, bytes]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "claimant@example.org", "claims@example.org", subject
    message["Date"] = "Mon, 03 Mar 2025 09:12:00 +0100"
    message.set_content("Please find my photos attached.")
    for name, data in pictures.items():
        message.add_attachment(data, maintype="image", subtype="jpeg", filename=name)
    return message.as_bytes()


def letter(picture: bytes) -> bytes:
    file = io.BytesIO()
    page = canvas.Canvas(file)
    page.drawString(60, 800, "My claim")
    page.drawImage(ImageReader(io.BytesIO(picture)), 60, 400, 400, 300)
    page.showPage()
    page.save()
    return file.getvalue()


def make_archive(folder: Path) -> None:
    """A picture of each of three things, and what became of them in other claims."""
    folder.mkdir(parents=True)
    cup, cat, rocket = photo("coffee"), photo("chelsea"), photo("rocket")
    files = {
        "KD-2025-0115_kitchen.jpg": jpeg(cup),
        "KD-2025-0388_letter.pdf": letter(edited("rotated by 5 to 20 degrees, white corners", cat)),
        "KD-2025-0401_1.jpg": edited("messengers, three times", rocket),
        "KD-2025-0402_1.jpg": edited("collage of 2", cup),
    }
    files |= {f"KD-2025-05{number:02}_1.jpg": jpeg(drawn_scene(number)) for number in range(STRANGERS)}
    for name, data in files.items():
        (folder / name).write_bytes(data)
    mirrored = edited("mirrored and cropped to 60 %", cup)
    with zipfile.ZipFile(folder / "inbox-2025.zip", "w") as inbox:
        for name, subject, pictures in (
            ("march/KD-2025-0199.eml", "KD-2025-0199, my cup", {"KD-2025-0199_photo.jpg": mirrored}),
            ("march/KD-2025-0203.eml", "KD-2025-0203", {"KD-2025-0203_cat.jpg": jpeg(cat)}),
            (
                "april/KD-2025-0342.eml",
                "KD-2025-0342",
                {
                    "KD-2025-0342_1.jpg": edited("phone screenshot", cup),
                    "KD-2025-0342_2.jpg": jpeg(rocket),
                },
            ),
        ):
            inbox.writestr(name, mail(subject, pictures))


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def main(folder: Path) -> None:
    """Make the archive in FOLDER, take it in, and report."""
    make_archive(folder / "archive")
    environment = os.environ | {"DATA_DIR": "data", "DATABASE_URL": ""}
    claimprint = [str(Path(sys.executable).with_name("claimprint"))]
    for words in (
        ["ingest", "archive", "--claim-from", "regex", "--claim-regex", PATTERN],
        ["report", "duplicates", "--out", "audit.html"],
    ):
        subprocess.run([*claimprint, *words], cwd=folder, env=environment, check=True)
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is not None:
        page, picture = (folder / "audit.html").absolute(), (folder / "audit.png").absolute()
        options = ["--headless", "--no-sandbox", "--hide-scrollbars", f"--window-size={WINDOW},{WINDOW}"]
        subprocess.run([browser, *options, f"--screenshot={picture}", page.as_uri()], check=True)


if __name__ == "__main__":
    main()
