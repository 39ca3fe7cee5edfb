"""`python -m benchmarks.common_content`: do photos match because one thing was put on all of them?

The same logo, watermark, date, frame, ruler, letter or screen of an app, on photos of the reported half that have
nothing to do with each other, once drawn alike at one place, and once as the seed of each has it, in other corners
and colours: all of these are stored, and each is looked for among the others. Whatever
is found is false. Of each kind the pairs that match; photos that match as they are were left out before.

What keeps them apart costs copies that are covered: of each photo a copy with a part of another one over it, looked
for among the photos.
"""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import repeat
from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from app.matching.kinds import COPIES, KINDS
from app.parts import rule_from
from app.settings import Settings
from benchmarks.copies import half_of, photo_files
from benchmarks.edited import OTHERS, Looked, Stored, look, pairs_by_kind
from benchmarks.edits import shrunk
from benchmarks.report import Bar, show, table
from benchmarks.suite import edit
from tests.pictures import encoded

AS_IT_IS = "as it is"
SHARED = (
    "company logo",
    "watermark, corner",
    "watermark, all over",
    "watermark, one big line",
    "date stamp",
    "stickers and scribbles",
    "white frame",
    "dark thick frame",
    "instant-film frame with a caption",
    "caption bar",
    "in a letter",
    "phone screenshot",
    "desktop screenshot",
)


def ruler(photo: Image.Image) -> Image.Image:
    """A ruler of 30 cm along the lower edge, over an eighth of the height."""
    picture = photo.convert("RGB")
    draw = ImageDraw.Draw(picture)
    width, height = picture.size
    top = height - height // 8
    draw.rectangle((0, top, width, height), (245, 222, 140), (60, 50, 20), 2)
    font = ImageFont.load_default(max(8, height // 32))
    for mark in range(301):
        x = width * (mark + 5) / 311
        long = 0.5 if mark % 10 == 0 else 0.35 if mark % 5 == 0 else 0.2
        draw.line((x, top, x, top + long * height / 8), "black", 1)
        if mark % 10 == 0:
            draw.text((x, top + height / 13), str(mark // 10), font=font, anchor="mt", fill="black")
    return picture


PLACES: dict[str, Callable[[float], tuple[float, float, float, float]]] = {
    "in the middle": lambda share: (0.5 - share**0.5 / 2, 0.5 - share**0.5 / 2, share**0.5, share**0.5),
    "in a corner": lambda share: (0, 0, share**0.5, share**0.5),
    "along a side": lambda share: (0, 0, 1, share),
}
"""Left and upper edge, width and height, of a part of a picture, all of 1."""
COVERED = (0.1, 0.2, 0.3, 0.4)


def covered(photo: Image.Image, other: Image.Image, share: float, place: str) -> Image.Image:
    """A photo of which a share is behind another one."""
    left, top, width, height = PLACES[place](share)
    picture = photo.convert("RGB")
    size = round(width * picture.width), round(height * picture.height)
    over = other.convert("RGB").resize(picture.size).crop((0, 0, *size))
    picture.paste(over, (round(left * picture.width), round(top * picture.height)))
    return picture


OWN: dict[str, Callable[[Image.Image], Image.Image]] = {AS_IT_IS: lambda photo: photo, "ruler": ruler}


def _looked(name: str, path: Path, others: list[Path], seed: int) -> Looked:
    with Image.open(path) as opened:
        photo = shrunk(opened)
    if name in OWN:
        return look(encoded(OWN[name](photo)))
    around = [shrunk(Image.open(other)) for other in others]
    return look(edit(name, photo, around, seed).jpeg)


def _covered(path: Path, other: Path, share: float, place: str) -> Looked:
    with Image.open(path) as photo, Image.open(other) as over:
        return look(encoded(covered(shrunk(photo), shrunk(over), share, place)))


@click.command()
@click.option("--photos", default=60, show_default=True, help="Photos that the same is put on.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(photos: int, *, as_json: bool) -> None:
    """Look for each among the others."""
    random = np.random.default_rng(5)
    files = [path for path in photo_files() if half_of(path) == 1]
    chosen = [files[place] for place in random.permutation(len(files))[: photos + OTHERS].tolist()]
    chosen, others = chosen[OTHERS:], chosen[:OTHERS]
    rule = rule_from(Settings.model_construct())
    rows, counts, alike = [], {}, set()
    with ProcessPoolExecutor() as processes:
        alike_and_not = [(name, each) for each in (False, True) for name in SHARED]
        for name, each_its_own in ((AS_IT_IS, False), ("ruler", False), *alike_and_not):
            seeds = range(len(chosen)) if each_its_own else repeat(0)
            looks = list(processes.map(_looked, repeat(name), chosen, repeat(others), seeds, chunksize=4))
            stored = Stored(looks)
            found = [stored.matches(each, rule, but=number) for number, each in enumerate(looks)]
            pairs = pairs_by_kind(found)
            if name == AS_IT_IS:
                alike, photos_as_they_are = set().union(*pairs.values()), stored
                continue
            told = {kind: len(pairs[kind] - alike) for kind in KINDS}
            shown_as = f"{name}, each its own" if each_its_own else name
            counts[shown_as] = told
            rows.append(
                [shown_as, *(str(told[kind]) for kind in ("near_duplicate", "edited_copy", "same_scene"))]
            )
        kept: dict[str, list[float]] = {}
        for place in PLACES:
            shares = []
            for share in COVERED:
                work = processes.map(_covered, chosen, [*chosen[1:], chosen[0]], repeat(share), repeat(place))
                copied = [
                    any(
                        one.number == number and one.kind in COPIES
                        for one in photos_as_they_are.matches(each, rule)
                    )
                    for number, each in enumerate(work)
                ]
                shares.append(float(np.mean(copied)))
            kept[place] = shares
    copies = sum(told[kind] for told in counts.values() for kind in COPIES)
    most = len(chosen) * (len(chosen) - 1) // 2 - len(alike)
    shown = table([f"on both of {most} pairs", "near duplicates", "edited copies", "same scenes"], rows)
    rows = [[place, *(f"{share:.2f}" for share in shares)] for place, shares in kept.items()]
    header = ["copies told of photos covered by", *(f"{share:.0%}" for share in COVERED)]
    shown = f"{shown}\n\n{table(header, rows)}"
    show(
        {"pairs": counts, "covered": kept},
        shown,
        [Bar("pairs told to be copies", copies, 0, "pairs")],
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
