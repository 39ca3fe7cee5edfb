"""A year of claims to scan: folders, archives, messages and letters with pictures known to be copies or not.

The pictures are parts of real photos that do not overlap, and drawn scenes (`benchmarks.scenes`) where there are no
more of those. Copies of some, most of them edited (`benchmarks.suite`), lie in other claims. The names of all files
begin with the claim. The folder is made once; `truth.jsonl` in it has a line for each picture.
"""

import hashlib
import io
import json
import sys
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from email.message import EmailMessage
from functools import cache, partial
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps

from benchmarks.pictures import DATA
from benchmarks.scenes import drawn_jpeg, drawn_scene
from benchmarks.suite import FAMILIES, edit

PER_CLAIM = 4
CLAIMS_PER_GROUP = 50
# Of the claims of a group: in folders, one zip, one tar, messages, Outlook messages, letters.
FOLDERS, ZIPPED, TARRED, MESSAGES, OUTLOOK = 30, 35, 38, 43, 45
# Not of turbines and cracks: some of their files have a part in common.
PHOTOS = ("car-rental", "clothing", "grocery", "road")
# One view taken twice within moments, or one thing: the other one is taken.
SEEN_TWICE = {
    "ba35967d-d1bc-4f99-a214-a0f8edf15a71.jpg",
    "Anjou_033.jpg",
    "Arla-Ecological-Sour-Cream_020.jpg",
    "Arla-Lactose-Medium-Fat-Milk_022.jpg",
    "Cabbage_015.jpg",
    "Golden-Delicious_034.jpg",
    "Pink-Lady_029.jpg",
    "Pink-Lady_033.jpg",
    "Valio-Vanilla-Yoghurt_021.jpg",
    "1091812_DF_251_251BDF0490_00966_RAW.jpg",
    "917282_RS_290_290RS294095_19860_RAW.jpg",
    "941647_RS_290_290RS070691_01140_RAW.jpg",
}
LEAST_SIDE = 700  # pixels of a quarter of a photo: a smaller photo is left whole
CLAIM_PATTERN = r"^(?P<claim>C\d{6})"
# What hardly anything is left of, or nobody could tell, is measured by benchmarks.edited.
NOT_PLANTED = {"screen", "chained"}
NOT_EDITS = {
    "cropped to 25 %",
    "cropped to 25 % at a corner",
    "cropped to 30 %",
    "cropped to 30 % at a corner",
}
PLAIN = "as it is"


@dataclass(frozen=True, slots=True)
class Planted:
    """One picture: its claim, its number in it, which picture it shows, and by what edit it is a copy of that."""

    claim: str
    number: int
    shown: int
    edit: str | None = None

    @property
    def name(self) -> str:
        """Of its file."""
        return f"{self.claim}_{self.number}.jpg"


def edits() -> list[str]:
    """Those that are planted; each second copy is a file sent again or as messengers make it."""
    some = [name for name, family in FAMILIES.items() if family not in NOT_PLANTED and name not in NOT_EDITS]
    light = [name for name in some if FAMILIES[name] == "compression"]
    return [name for each in some for name in (each, light[len(each) % len(light)])] + [PLAIN] * len(some)


def plan(size: int, copies: int) -> list[Planted]:
    """All pictures, in the order of their claims; a copy is in another claim than its original, many before it."""
    originals = size - copies
    random = np.random.default_rng(3)
    # As large a share of a small archive is real as of the full one, and half of what is copied.
    real = min(len(parts()), originals // 100)
    numbers = [*range(real), *range(len(parts()), len(parts()) + originals - real)]
    chosen = random.choice(numbers[:real], min(real, copies // 2), replace=False).tolist()
    chosen += random.choice(numbers[real:], copies - len(chosen), replace=False).tolist()
    names = edits()
    shown: list[tuple[int, str | None]] = [(each, None) for each in numbers]
    place_of = {each: place for place, each in enumerate(numbers)}
    shown += [(each, names[number % len(names)]) for number, each in enumerate(chosen)]
    order = random.permutation(size).tolist()
    at = {number: place // PER_CLAIM for place, number in enumerate(order)}
    for number in range(originals, size):
        if (
            at[number] == at[place_of[shown[number][0]]]
        ):  # with the next picture, which is of another claim soon
            place = order.index(number)
            other = (place + PER_CLAIM) % size
            order[place], order[other] = order[other], order[place]
    return [
        Planted(f"C{place // PER_CLAIM:06}", place % PER_CLAIM, *shown[number])
        for place, number in enumerate(order)
    ]


@cache
def parts() -> list[tuple[Path, tuple[int, int, int, int]]]:
    """Photos, the large ones in quarters, and their boxes: left, top, right, bottom."""
    found = []
    for path in sorted(path for folder in PHOTOS for path in (DATA / "photos" / folder).glob("*.*")):
        if path.name in SEEN_TWICE:
            continue
        with Image.open(path) as image:
            width, height = ImageOps.exif_transpose(image).size
        across, down = width // 2, height // 2
        if min(across, down) < LEAST_SIDE:
            found.append((path, (0, 0, width, height)))
        else:
            found += [
                (path, (x * across, y * down, (x + 1) * across, (y + 1) * down))
                for y in (0, 1)
                for x in (0, 1)
            ]
    return found


def picture(shown: int) -> Image.Image:
    """The picture of that number, mode RGB."""
    if shown >= len(parts()):
        return drawn_scene(shown)
    path, box = parts()[shown]
    with Image.open(path) as image:
        return ImageOps.exif_transpose(image).convert("RGB").crop(box)


def original(shown: int) -> bytes:
    """The file of that picture."""
    if shown >= len(parts()):
        return drawn_jpeg(shown)
    file = io.BytesIO()
    picture(shown).save(file, "JPEG", quality=88)
    return file.getvalue()


def content(planted: Planted) -> bytes:
    """The bytes of its file."""
    if planted.edit in (None, PLAIN):
        return original(planted.shown)
    photo = picture(planted.shown)
    photo.thumbnail((1024, 1024))
    # What else is on it is in no other picture.
    others = [drawn_scene(10_000_000 + 3 * planted.shown + number) for number in range(3)]
    return edit(str(planted.edit), photo, others, planted.shown).jpeg


def make_archive(folder: Path, size: int, copies: int, processes: int) -> None:
    """Make the folder, or what is missing of it."""
    groups = _groups(plan(size, copies))
    with ProcessPoolExecutor(processes) as workers:
        made = workers.map(partial(_make_group, folder), range(len(groups)), groups, chunksize=1)
        with click.progressbar(made, length=len(groups), label="archive", file=sys.stderr) as bar:
            lines = [line for group in bar for line in group]
    (folder / "truth.jsonl").write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _groups(planted: Sequence[Planted]) -> list[list[Planted]]:
    step = CLAIMS_PER_GROUP * PER_CLAIM
    return [list(planted[begin : begin + step]) for begin in range(0, len(planted), step)]


def _make_group(folder: Path, number: int, planted: Sequence[Planted]) -> list[str]:
    done = folder / "made" / f"{number:05}.jsonl"
    if done.exists():
        return done.read_text("utf-8").splitlines()
    files = {each: content(each) for each in planted}
    claims = sorted({each.claim for each in planted})
    of_claim = {claim: [each for each in planted if each.claim == claim] for claim in claims}
    base = folder / "sources" / f"{number:05}"
    base.mkdir(parents=True, exist_ok=True)
    for claim in claims[:FOLDERS]:
        (base / claim).mkdir(exist_ok=True)
        for each in of_claim[claim]:
            (base / claim / each.name).write_bytes(files[each])
    _write_archives(base, claims, of_claim, files)
    for claim in claims[TARRED:MESSAGES]:
        (base / f"{claim}.eml").write_bytes(_message(of_claim[claim], files))
    for claim in claims[MESSAGES:OUTLOOK]:
        (base / f"{claim}.msg").write_bytes(_outlook(of_claim[claim], files))
    for claim in claims[OUTLOOK:]:
        (base / f"{claim}_letter.pdf").write_bytes(_letter(of_claim[claim], files))
    lines = [
        json.dumps(
            asdict(each) | {"sha256": hashlib.sha256(files[each]).hexdigest(), "bytes": len(files[each])}
        )
        for each in planted
    ]
    done.parent.mkdir(exist_ok=True)
    done.write_text("".join(f"{line}\n" for line in lines), "utf-8")
    return lines


def _write_archives(
    base: Path, claims: Sequence[str], of_claim: dict[str, list[Planted]], files: dict[Planted, bytes]
) -> None:
    if claims[FOLDERS:ZIPPED]:
        with zipfile.ZipFile(base / "claims.zip", "w") as archive:
            for each in (each for claim in claims[FOLDERS:ZIPPED] for each in of_claim[claim]):
                archive.writestr(f"{each.claim}/{each.name}", files[each])
    if claims[ZIPPED:TARRED]:
        with tarfile.open(base / "claims.tar.gz", "w:gz", compresslevel=1) as archive:
            for each in (each for claim in claims[ZIPPED:TARRED] for each in of_claim[claim]):
                member = tarfile.TarInfo(f"{each.claim}/{each.name}")
                member.size = len(files[each])
                archive.addfile(member, io.BytesIO(files[each]))


def _message(planted: Sequence[Planted], files: dict[Planted, bytes]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"] = "claimant@example.org", "claims@example.org"
    message["Subject"] = f"Claim {planted[0].claim}"
    message.set_content("Please find my photos attached.")
    for each in planted:
        message.add_attachment(files[each], maintype="image", subtype="jpeg", filename=each.name)
    return message.as_bytes()


def _outlook(planted: Sequence[Planted], files: dict[Planted, bytes]) -> bytes:
    from aspose.email_foss import msg

    message = msg.MapiMessage.create(f"Claim {planted[0].claim}", "Please find my photos attached.")
    for each in planted:
        message.add_attachment(each.name, files[each], mime_type="image/jpeg")
    written: bytes = message.to_bytes()
    return written


def _letter(planted: Sequence[Planted], files: dict[Planted, bytes]) -> bytes:
    """Two pictures a page, as they are."""
    from reportlab.lib.utils import ImageReader
    from reportlab.pdfgen import canvas

    file = io.BytesIO()
    drawing = canvas.Canvas(file)
    for page in _pairs(planted):
        drawing.drawString(60, 800, f"Claim {planted[0].claim}")
        for place, each in enumerate(page):
            picture = ImageReader(io.BytesIO(files[each]))
            drawing.drawImage(picture, 60, 430 - 370 * place, 480, 340, preserveAspectRatio=True)
        drawing.showPage()
    drawing.save()
    return file.getvalue()


def _pairs(planted: Sequence[Planted]) -> Iterator[Sequence[Planted]]:
    for begin in range(0, len(planted), 2):
        yield planted[begin : begin + 2]
