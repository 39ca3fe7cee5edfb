"""`python -m benchmarks.pages`: what pages and pictures with little in them get (docs/decisions/0008).

Pages of one layout are drawn with other words each, and edited as `benchmarks.edits` does: how near are strangers,
how near copies, and what does the rule say of both, with and without its radius for pages? And how many real photos
are called pages, or said to have low information?
"""

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.fingerprints.value import LOW_INFORMATION, VERIFIER, Fingerprint
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.matching.kinds import Picture, Rule, compare_many
from app.parts import rule_from
from app.settings import Settings
from benchmarks.edits import edited
from benchmarks.pictures import DATA
from benchmarks.report import show, table
from tests.pictures import WORDS, encoded, letter, product, receipt

PAGES_OF_A_KIND = 40
COPIES = (
    "compression, quality 10",
    "scaling 0.25",
    "grey-scale",
    "brightness 0.6",
    "gamma 1.6",
    "cropped by 1 % a side",
    "rotated by 1 degree",
)
# The share of the photos of bare surfaces and boards that is looked at: they are many, and alike.
EVERY = 10


def form(seed: int) -> Image.Image:
    """A claim form: printed boxes and their names, and a few entries."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", (1240, 1754), "white")
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(28)
    for number in range(24):
        left, top = 100 + 540 * (number % 2), 200 + 120 * (number // 2)
        draw.rectangle((left, top, left + 500, top + 90), outline="black", width=2)
        draw.text(
            (left + 8, top + 4), WORDS[number % len(WORDS)], font=ImageFont.load_default(18), fill="black"
        )
        if random.random() < 0.7:
            draw.text((left + 20, top + 44), str(random.integers(10**8)), font=font, fill="black")
    return image


KINDS: dict[str, Callable[[int], Image.Image]] = {
    "receipts": receipt,
    "letters": letter,
    "forms": form,
    "products on white": product,
}


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found of the pages of one kind; distances in bits of the verifier."""

    kind: str
    called_pages: int
    low_information: int
    stranger_pairs: int
    flagged_as_photos: int
    flagged: int
    least_between_strangers: int
    one_percent_between_strangers: float
    most_to_copies: dict[str, int]


def measure(kind: str, rule: Rule) -> Measured:
    """Draw, edit and compare the pages of a kind."""
    with ProcessPoolExecutor() as processes:
        done = list(processes.map(_drawn, [kind] * PAGES_OF_A_KIND, range(PAGES_OF_A_KIND)))
    own = [each[""] for each in done]
    between = [_bits(one, other) for one, other in combinations(own, 2)]
    return Measured(
        kind=kind,
        called_pages=sum(each.page for each in own),
        low_information=sum(each.information == LOW_INFORMATION for each in own),
        stranger_pairs=len(between),
        flagged_as_photos=_flagged(own, replace(rule, page_verifier=rule.verifier)),
        flagged=_flagged(own, rule),
        least_between_strangers=min(between),
        one_percent_between_strangers=float(np.quantile(between, 0.01)),
        most_to_copies={name: max(_bits(each[""], each[name]) for each in done) for name in COPIES},
    )


def photos_called() -> Counter[str]:
    """How many real photos there are, are called pages, and have low information."""
    paths = [*(DATA / "photos").rglob("*"), *sorted((DATA / "defect-classes").rglob("*"))[::EVERY]]
    pictures = [path for path in paths if path.suffix.lower() in {".jpg", ".jpeg", ".png"}]
    found: Counter[str] = Counter()
    with ProcessPoolExecutor() as processes:
        for own in processes.map(_of_file, pictures, chunksize=8):
            found.update(photos=1, pages=own.page, low_information=own.information == LOW_INFORMATION)
    return found


def _drawn(kind: str, seed: int) -> dict[str, Fingerprint]:
    page = KINDS[kind](seed)
    copies = edited(page)
    return {"": _of(encoded(page))} | {name: _of(copies[name]) for name in COPIES}


def _of(data: bytes) -> Fingerprint:
    return fingerprint(normalise(data, DecodeLimits()).image)


def _of_file(path: Path) -> Fingerprint:
    return _of(path.read_bytes())


def _bits(one: Fingerprint, other: Fingerprint) -> int:
    return int(np.bitwise_count(one.turned[0, VERIFIER] ^ other.turned[0, VERIFIER]).sum())


def _flagged(pages: list[Fingerprint], rule: Rule) -> int:
    pictures = [
        Picture(
            sha256=bytes([place]),
            pixel_sha256=bytes([place]),
            low_information=page.information == LOW_INFORMATION,
            turned=page.turned,
            page=page.page,
        )
        for place, page in enumerate(pages)
    ]
    return sum(
        finding is not None
        for place, picture in enumerate(pictures)
        for finding in compare_many(picture, pictures[:place], rule)
    )


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(as_json: bool) -> None:
    """Measure pages, products on white and real photos."""
    rule = rule_from(Settings())
    measured = [measure(kind, rule) for kind in KINDS]
    photos = photos_called()
    header = ["of each", "pages", "low", "pairs", "as photos", "flagged", "least", "1 %", *COPIES]
    rows = [
        [
            each.kind,
            f"{each.called_pages}",
            f"{each.low_information}",
            f"{each.stranger_pairs}",
            f"{each.flagged_as_photos}",
            f"{each.flagged}",
            f"{each.least_between_strangers}",
            f"{each.one_percent_between_strangers:.0f}",
            *(f"{each.most_to_copies[name]}" for name in COPIES),
        ]
        for each in measured
    ]
    told = (
        f"{PAGES_OF_A_KIND} of each; pairs of strangers flagged by the radius for photos and by the rule; bits of"
        f" the verifier between strangers, and from each to its copies, at most\n\n{table(header, rows)}\n\n"
        f"real photos: {photos['photos']}, called pages {photos['pages']},"
        f" low information {photos['low_information']}"
    )
    show({"pages": [asdict(each) for each in measured], "photos": dict(photos)}, told, [], as_json=as_json)


if __name__ == "__main__":
    main()
