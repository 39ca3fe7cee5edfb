"""`python -m benchmarks.edited`: which edited copies are found among all photos, by the rule of the service.

Every photo is stored. Of those that are asked about, all copies of `benchmarks.suite` are looked for among all
that is stored; and every photo itself among all others, where what is found is false unless both are of one
view. No threshold was fitted on the half that is reported. `--peers` has other people's hashes look for
the same copies; `--state` has them made of the photos as one of `keypoint_value.STATES` says.
"""

import pickle
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import repeat
from pathlib import Path
from typing import Any

import click
import numpy as np
from PIL import Image, ImageOps

from app.fingerprints.keypoint_value import STATES, Keypoints, canonical
from app.fingerprints.keypoints import keypoints
from app.fingerprints.orientation import TRANSFORMS
from app.fingerprints.value import FINGERPRINTED, FIRST_COLUMNS, VERIFIER, turned_to_bytes
from app.fingerprints.whole import fingerprint
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise
from app.index.sets import SetIndex
from app.matching import near_keypoints
from app.matching.candidates import agreeing, rank
from app.matching.evidence import Evidence, examine, examine_whole
from app.matching.kinds import COPIES, KINDS, Picture, Rule, compare_many
from app.matching.overlaps import PROPOSING_BITS, find_overlap
from app.partial_copies import DOUBTED_SCORE, MOST_COMPARED, MOST_EXAMINED, MOST_PROPOSED
from app.parts import rule_from
from app.settings import Settings
from benchmarks.copies import half_of, photo_files
from benchmarks.edited_peers import Hashed, Peer, hashes_of, peers
from benchmarks.edited_plot import plot
from benchmarks.edits import shrunk
from benchmarks.report import Bar, show, table
from benchmarks.suite import FAMILIES, SUITE, edit

OTHERS = 3
LEAST_RECALL, LEAST_RECALL_OF_ONE = 0.99, 0.95
_AS_LARGE = 1 << 16  # pixels: as they are


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What the service has of a picture: hashes, keypoints, and its rendition in grey."""

    picture: Picture
    points: Keypoints
    grey: Image.Image


@dataclass(frozen=True, slots=True)
class Found:
    """A picture found for another: the number of the photo, the kind, and what was seen of the keypoints."""

    number: int
    kind: str | None
    evidence: Evidence | None


def look(data: bytes) -> Looked:
    """Look at a file as the service does."""
    normalised = normalise(data, DecodeLimits())
    own = fingerprint(normalised.image)
    low = own.information != FINGERPRINTED
    points = keypoints(normalised.image.convert("L")).first(0 if low else 1 << 16)
    pixels = normalised.pixel_sha256()
    file = BytesIO()
    normalised.image.save(file, "JPEG", quality=90, subsampling="4:4:4")
    picture = Picture(turned_to_bytes(own.turned), pixels, low, own.turned, own.page, own.colour_code)
    return Looked(picture, points, Image.open(file).convert("L"))


class Stored:
    """All photos, and the index of their keypoints."""

    def __init__(self, looks: Sequence[Looked]):
        self.pictures = [look.picture for look in looks]
        self.points = [look.points.stored for look in looks]
        self.greys = [look.grey for look in looks]
        self.turned = np.stack([picture.turned[0] for picture in self.pictures])
        hashes = np.concatenate([points.codes for points in self.points])
        counts = np.array([len(points) for points in self.points], np.int64)
        self.places = np.concatenate([points.places for points in self.points])
        self.firsts = np.cumsum(counts) - counts
        hashes, states = canonical(hashes)
        self.index = SetIndex.build(hashes, np.arange(len(looks)), counts, states)

    def matches(self, query: Looked, rule: Rule, *, but: int = -1) -> list[Found]:
        """What is found, chance overlaps with it, whose kind is None."""
        [hits] = near_keypoints.near(self.index, [query.points], PROPOSING_BITS)
        hits = hits.taken(np.flatnonzero(hits.owners != but))
        ranked = rank(hits.queries, hits.owners, hits.places, len(query.points), MOST_PROPOSED)
        firsts = np.repeat(self.firsts[ranked.owners], np.diff(ranked.starts))
        places = self.places[firsts + ranked.pairs[:, 1]]
        ranked = agreeing(ranked, query.points, query.grey.size, places)
        seen: dict[int, Evidence | None] = {}
        examined = 0
        chosen = zip(ranked.owners[:MOST_COMPARED].tolist(), ranked.states.tolist(), strict=False)
        for number, state in chosen:
            if examined == MOST_EXAMINED:
                break
            points, grey = self.points[number], self.greys[number]
            overlap = find_overlap(query.points, query.grey.size, points, grey.size, [state])
            if overlap is not None:
                examined += 1
                seen[number] = examine(query.grey, query.points, grey, overlap, points)
        near = self._near(query.picture, rule)
        near.pop(but, None)
        for number, transform in near.items():
            whole = examine_whole(query.grey, self.greys[number], TRANSFORMS[transform])
            evidence = seen.get(number)
            if whole is not None and (evidence is None or evidence.score < min(DOUBTED_SCORE, whole.score)):
                seen[number] = whole if evidence is None else replace(whole, page=evidence.page)
        numbers = sorted({*near, *seen} - {but})
        told = [seen.get(number) for number in numbers]
        findings = compare_many(query.picture, [self.pictures[number] for number in numbers], rule, told)
        return [
            Found(number, None if finding is None else finding.kind, evidence)
            for number, finding, evidence in zip(numbers, findings, told, strict=True)
        ]

    def _near(self, query: Picture, rule: Rule) -> dict[int, int]:
        """Photos that whole-image hashes tell to be copies, and the place in TRANSFORMS of how they are turned."""
        bits = np.bitwise_count(query.turned[:, None, :FIRST_COLUMNS] ^ self.turned[None, :, :FIRST_COLUMNS])
        verifier = bits[:, :, VERIFIER].sum(axis=2, dtype=int)
        proposed = (bits[:, :, 1:3] <= rule.near).any(axis=2)
        pages = np.array([query.page and picture.page for picture in self.pictures])
        agreed = np.where(proposed & (verifier <= rule.verifier_for(pages)), verifier, 1 << 16)
        near = np.flatnonzero(agreed.min(axis=0) < 1 << 16)
        return dict(zip(near.tolist(), agreed[:, near].argmin(axis=0).tolist(), strict=True))


def _look_at(path: Path) -> Looked:
    return look(path.read_bytes())


def _hashed_at(path: Path) -> Hashed:
    return hashes_of(path.read_bytes())


_STORED: list[Stored] = []


@dataclass(frozen=True, slots=True)
class Copied:
    """What is found for each copy of a photo, and other people's hashes of it, where they are asked for."""

    found: dict[str, list[Found]]
    hashes: dict[str, Hashed]


def _copies_of(
    number: int, path: Path, others: Sequence[Path], state: str, long_side: int, hashed: bool
) -> Copied:
    with Image.open(path) as opened:
        small = picture_in_state(shrunk(opened), state)
    around = [shrunk(Image.open(other)) for other in others]
    rule = rule_from(Settings.model_construct())
    made = {name: _made_small(edit(name, small, around, number).jpeg, long_side) for name in SUITE}
    return Copied(
        {name: _STORED[0].matches(look(data), rule) for name, data in made.items()},
        {name: hashes_of(data) for name, data in made.items()} if hashed else {},
    )


def picture_in_state(picture: Image.Image, state: str) -> Image.Image:
    """A picture as one of STATES says."""
    number = STATES.index(state)
    if number & 1:
        picture = ImageOps.mirror(picture)
    return ImageOps.invert(picture.convert("RGB")) if number & 2 else picture


def _made_small(data: bytes, long_side: int) -> bytes:
    """A file as it is sent on by what makes pictures small; as it is if it is no larger."""
    with Image.open(BytesIO(data)) as opened:
        if max(opened.size) <= long_side:
            return data
        picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((long_side, long_side), Image.Resampling.LANCZOS)
    file = BytesIO()
    picture.save(file, "JPEG", quality=85)
    return file.getvalue()


def _others_of(number: int, path: Path, long_side: int) -> list[Found]:
    data = _made_small(path.read_bytes(), long_side)
    return _STORED[0].matches(look(data), rule_from(Settings.model_construct()), but=number)


def pairs_by_kind(others: Sequence[Sequence[Found]]) -> dict[str, set[tuple[int, int]]]:
    """Pairs of photos that match, from either side, by kind."""
    pairs: dict[str, set[tuple[int, int]]] = {kind: set() for kind in KINDS}
    for number, own in enumerate(others):
        for found in own:
            if found.kind is not None:
                pairs[found.kind].add((min(number, found.number), max(number, found.number)))
    return pairs


@click.command()
@click.option("--photos", default=200, show_default=True, help="Photos that copies are made of.")
@click.option("--half", default=1, show_default=True, help="The half of all photos that these are of.")
@click.option("--keep", type=click.Path(dir_okay=False, path_type=Path), help="File for all that was found.")
@click.option(
    "--plot", "drawn", type=click.Path(dir_okay=False, path_type=Path), help="SVG or PNG to draw to."
)
@click.option(
    "--state", default=STATES[0], show_default=True, type=click.Choice(STATES), help="Of the copies."
)
@click.option(
    "--long-side", default=_AS_LARGE, help="Pixels that copies, and photos asked about, are made small to."
)
@click.option("--peers", "with_peers", is_flag=True, help="Beside other people's hashes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(
    photos: int,
    half: int,
    keep: Path | None,
    drawn: Path | None,
    state: str,
    long_side: int,
    *,
    with_peers: bool,
    as_json: bool,
) -> None:
    """Look for the copies, and for false ones."""
    files = photo_files()
    hashed: list[Hashed] = []
    with ProcessPoolExecutor() as processes:
        work = processes.map(_look_at, files, chunksize=8)
        with click.progressbar(work, len(files), label="looking at photos") as bar:
            _STORED.append(Stored(list(bar)))
        if with_peers:
            hashed = list(processes.map(_hashed_at, files, chunksize=4))
    rng = np.random.default_rng(half)
    numbers = np.array([number for number, file in enumerate(files) if half_of(file) == half])
    chosen = rng.permutation(numbers)[:photos].tolist()
    around = [[files[place] for place in rng.choice(numbers, OTHERS)] for _ in chosen]
    with ProcessPoolExecutor() as processes:  # these have what is stored
        paths = [files[number] for number in chosen]
        work = processes.map(
            _copies_of,
            chosen,
            paths,
            around,
            repeat(state),
            repeat(long_side),
            repeat(with_peers),
            chunksize=1,
        )
        with click.progressbar(work, len(chosen), label="editing photos and looking for them") as bar:
            copied = list(bar)
        copies = [each.found for each in copied]
        work = processes.map(_others_of, range(len(files)), files, repeat(long_side), chunksize=8)
        with click.progressbar(work, len(files), label="looking for photos among the others") as bar:
            others = list(bar)
        as_large: list[list[Found]] = []
        if long_side < _AS_LARGE:
            as_large = list(
                processes.map(_others_of, range(len(files)), files, repeat(_AS_LARGE), chunksize=8)
            )
    if keep is not None:
        keep.write_bytes(pickle.dumps((files, chosen, copies, others)))
    if drawn is not None:
        true = [
            found.evidence
            for number, own in zip(chosen, copies, strict=True)
            for each in own.values()
            for found in each
            if found.number == number and found.evidence is not None
        ]
        strangers = [found.evidence for own in others for found in own if found.evidence is not None]
        plot(true, strangers, rule_from(Settings.model_construct()), drawn)
    rows, recall = [], {}
    for name in SUITE:
        kinds = [
            next((found.kind for found in own[name] if found.number == number), None)
            for number, own in zip(chosen, copies, strict=True)
        ]
        told = Counter(kinds)
        recall[name] = sum(told[kind] for kind in COPIES) / len(kinds)
        rows.append([f"{FAMILIES[name]}: {name}", f"{recall[name]:.3f}", str(told["same_scene"])])
    mean = float(np.mean(list(recall.values())))
    rows.append(["**mean of all edits**", f"**{mean:.4f}**", ""])
    large = pairs_by_kind(as_large)
    known = set[tuple[int, int]]().union(*(large[kind] for kind in COPIES))
    smaller = f" made small to {long_side} pixels, no copies as they are" if as_large else ""
    for kind, found in pairs_by_kind(others).items():
        pairs = found - known
        folders = Counter(
            tuple(sorted({files[one].parent.name, files[other].parent.name})) for one, other in pairs
        )
        told = ", ".join(f"{count} {' and '.join(folder)}" for folder, count in folders.most_common())
        rows.append(
            [
                f"of {len(files) * (len(files) - 1) // 2:,} pairs of photos{smaller}: {kind}",
                str(len(pairs)),
                told,
            ]
        )
    bars = [
        Bar("copies missed, mean of all edits", 100 * (1 - mean), 100 * (1 - LEAST_RECALL), "%"),
        Bar("... of the worst edit", 100 * (1 - min(recall.values())), 100 * (1 - LEAST_RECALL_OF_ONE), "%"),
    ]
    figures: dict[str, Any] = {"recall": recall}
    shown = table(["copies", "found", "told to be the same scene"], rows)
    if with_peers:
        beside = peers(files, hashed, chosen, [each.hashes for each in copied], half)
        shown = f"{shown}\n\n{_beside(recall, beside)}"
        figures["peers"] = {rule: peer.recall for rule, peer in beside.items()}
    show(figures, shown, bars, as_json=as_json)


def _beside(recall: Mapping[str, float], others: Mapping[str, Peer]) -> str:
    """A table of what is found, family by family, by Claimprint and by others."""
    all_found = {"Claimprint": recall} | {rule: peer.recall for rule, peer in others.items()}
    rows = []
    for family in dict.fromkeys(FAMILIES.values()):
        names = [name for name in SUITE if FAMILIES[name] == family]
        rows.append(
            [family, *(f"{np.mean([own[name] for name in names]):.3f}" for own in all_found.values())]
        )
    rows.append(["**all**", *(f"**{np.mean(list(own.values())):.3f}**" for own in all_found.values())])
    strangers = [f"{peer.strangers:.1f}" for peer in others.values()]
    rows.append(["of 10,000 unrelated pairs", "see above", *strangers])
    return table(["copies found", *all_found], rows)


if __name__ == "__main__":
    main()
