"""`python -m benchmarks.robustness`: which copies each fingerprint finds, at radii that strangers rarely meet.

Each radius is the largest that at most 1 of 100,000 unrelated pairs of one half of the photos lies within; what
it finds is counted on the other half, and the other way round, so that every photo is reported and none chose
its own radius. `near` is what the rule for whole pictures calls near duplicates, with the settings as
delivered, before any are laid on each other. Unrelated are all pairs but road frames with each other and cracks
with each other: those are counted apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from app.fingerprints.value import COLUMN_OF, FINGERPRINTED, VERIFIER, Fingerprint, Segment
from app.matching.kinds import PROPOSING_HASHES, Rule
from app.matching.regions import LEAST_PIXELS, WITHIN, alike_in_shape
from app.parts import rule_from
from app.settings import Settings
from benchmarks.copies import ALIKE, Photo, photos
from benchmarks.edits import BEYOND, OWNERS, TURNED
from benchmarks.report import Bar, show, table

MOST_CHANCE = 1e-5
NEVER = 999  # bits: no match
MOST_CHANCE_OF_REGIONS = 1e-4
NAMES = (*COLUMN_OF, "colorhash", "segments")
# Beside them: segments by the rule that /similar applies of itself, and what an upload is told.
COLUMNS = (*NAMES, "regions", "near")
FAMILIES = ("brightness", "contrast", "gamma", "watermark", "compression", "scaling", "grey-scale")


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """The searchable segments of one picture: hashes uint64[n], widths and heights int64[n]."""

    hashes: NDArray[np.uint64]
    widths: NDArray[np.int64]
    heights: NDArray[np.int64]

    @classmethod
    def of(cls, segments: Sequence[Segment]) -> "Regions":
        """Those of a fingerprint that are large enough."""
        sides = [(each.hash, each.right - each.left, each.bottom - each.top) for each in segments]
        large = [each for each in sides if each[1] * each[2] >= LEAST_PIXELS]
        return cls(
            np.array([each[0] for each in large], np.uint64),
            np.array([each[1] for each in large], np.int64),
            np.array([each[2] for each in large], np.int64),
        )

    def distances(self, others: "Regions") -> NDArray[np.int64]:
        """int64[others]: bits of the nearest of these of the same shape, NEVER where there is none."""
        if not len(self.hashes):
            return np.full(len(others.hashes), NEVER)
        bits = np.bitwise_count(self.hashes[:, None] ^ others.hashes).astype(np.int64)
        alike = alike_in_shape(self.widths[:, None], self.heights[:, None], others.widths, others.heights)
        return np.asarray(np.where(alike, bits, NEVER).min(axis=0))


class Stored:
    """Fingerprints of all photos, to be compared with one at a time."""

    def __init__(self, found: Sequence[Fingerprint]):
        self.own = np.stack([each.turned[0] for each in found])
        self.colours = np.stack([each.colour_code for each in found])
        regions = [Regions.of(each.segments) for each in found]
        self.regions = Regions(
            np.concatenate([each.hashes for each in regions]),
            np.concatenate([each.widths for each in regions]),
            np.concatenate([each.heights for each in regions]),
        )
        self.owners = np.repeat(np.arange(len(found)), [len(each.hashes) for each in regions])
        self.usable = np.array([each.information == FINGERPRINTED for each in found])
        self.pages = np.array([each.page for each in found])

    def distances(self, query: Fingerprint) -> dict[str, NDArray[np.int64]]:
        """Bits to each photo, by name, with the picture as it stands."""
        bits = np.bitwise_count(query.turned[0] ^ self.own).astype(np.int64)
        found = {name: bits[:, column] for name, column in COLUMN_OF.items()}
        found["colorhash"] = np.bitwise_count(query.colour_code ^ self.colours).sum(axis=1, dtype=np.int64)
        nearest = np.full(len(self.own), NEVER)
        np.minimum.at(nearest, self.owners, Regions.of(query.segments).distances(self.regions))
        return found | {"segments": nearest}

    def flagged(self, query: Fingerprint, rule: Rule) -> NDArray[np.bool_]:
        """Which photos the service calls a near duplicate of the query, in any orientation."""
        bits = np.bitwise_count(query.turned[None] ^ self.own[:, None, :])
        proposed = (bits[:, :, [COLUMN_OF[name] for name in PROPOSING_HASHES]] <= rule.near).any(axis=2)
        limits = rule.verifier_for(self.pages & query.page)
        consented = bits[:, :, VERIFIER].sum(axis=2, dtype=np.int64) <= limits[:, None]
        usable = self.usable & (query.information == FINGERPRINTED)
        return np.asarray((proposed & consented).any(axis=1) & usable)


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Chance neighbours among unrelated photos."""

    counts: Mapping[str, NDArray[np.int64]]
    """By name: int64[2, 1000], of each half, how many of its pairs lie at each distance."""
    pairs: NDArray[np.int64]
    """int64[2]: unrelated pairs within each half."""
    all_pairs: int
    flagged: Mapping[str, int]
    """Pairs of all photos that the service flags: "unrelated", and by folder of ALIKE."""

    def radius(self, name: str, half: int) -> int:
        """The largest radius that few enough pairs of that half lie within; -1 if there is none."""
        within = np.cumsum(self.counts[name][half][:NEVER])
        return int(np.searchsorted(within, self.pairs[half] * MOST_CHANCE, side="right")) - 1


def strangers(found: Sequence[Photo], rule: Rule) -> Strangers:
    """Compare every photo with those before it."""
    stored = Stored([photo.own for photo in found])
    halves = np.array([photo.half for photo in found])
    folders = np.array([photo.folder for photo in found])
    counts = {name: np.zeros((2, NEVER + 1), np.int64) for name in NAMES}
    pairs = np.zeros(2, np.int64)
    flagged = dict.fromkeys(("unrelated", *ALIKE), 0)
    all_pairs = 0
    for number, photo in enumerate(found):
        alike = (folders[:number] == photo.folder) & (photo.folder in ALIKE)
        same_half = (halves[:number] == photo.half) & ~alike
        for name, bits in stored.distances(photo.own).items():
            counts[name][photo.half] += np.bincount(bits[:number][same_half], minlength=NEVER + 1)
        pairs[photo.half] += np.count_nonzero(same_half)
        all_pairs += np.count_nonzero(~alike)
        matches = stored.flagged(photo.own, rule)[:number]
        flagged["unrelated"] += np.count_nonzero(matches & ~alike)
        if photo.folder in ALIKE:
            flagged[photo.folder] += np.count_nonzero(matches & alike)
    return Strangers(counts, pairs, int(all_pairs), flagged)


def shares_found(found: Sequence[Photo], chance: Strangers, rule: Rule) -> dict[str, dict[str, float]]:
    """Share of copies found, by edit and then by name of fingerprint, and by "near"."""
    radii = {name: (chance.radius(name, 1), chance.radius(name, 0)) for name in NAMES}  # of the other half
    shares: dict[str, dict[str, float]] = {}
    for edit in found[0].copies:
        hits: dict[str, list[bool]] = {name: [] for name in COLUMNS}
        for photo in found:
            stored, copy = Stored([photo.own]), photo.copies[edit]
            for name, bits in stored.distances(copy).items():
                hits[name].append(bool(bits[0] <= radii[name][photo.half]))
            hits["regions"].append(bool(bits[0] <= WITHIN))  # of the last name, segments
            hits["near"].append(bool(stored.flagged(copy, rule)[0]))
        shares[edit] = {name: float(np.mean(each)) for name, each in hits.items()}
    return shares


def _rows(shares: Mapping[str, Mapping[str, float]]) -> list[list[str]]:
    def line(title: str, edits: Sequence[str]) -> list[str]:
        means = [np.mean([shares[edit][name] for edit in edits]) for name in COLUMNS]
        return [title, *(f"{mean:.3f}" for mean in means)]

    rows = [
        line(f"**{family}**", [edit for edit in OWNERS if edit.startswith(family)]) for family in FAMILIES
    ]
    return rows + [line(edit, [edit]) for edit in (*OWNERS, *TURNED, *BEYOND)]


@click.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), help="File for the fingerprints; a later run reads it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(keep: Path | None, as_json: bool) -> None:
    """Measure which edited copies of real photos are found."""
    rule = rule_from(Settings.model_construct())
    found = photos(keep)
    chance = strangers(found, rule)
    shares = shares_found(found, chance, rule)
    radii = {name: [chance.radius(name, half) for half in (0, 1)] for name in NAMES}
    header = ["share of copies found", *COLUMNS]
    rows = [
        ["radius by either half", *(f"{one} / {two}" for one, two in radii.values()), str(WITHIN), ""],
        *_rows(shares),
    ]
    figures = {
        "photos": len(found),
        "unrelated_pairs": chance.all_pairs,
        "flagged": dict(chance.flagged),
        "radii": radii,
        "shares": shares,
    }
    by_chance = chance.flagged["unrelated"] / chance.all_pairs
    regions = chance.counts["segments"][:, : WITHIN + 1].sum() / chance.pairs.sum()
    bars = [
        Bar("near by chance, of 100,000 pairs", by_chance * 1e5, MOST_CHANCE * 1e5, "pairs"),
        Bar("regions by chance, of 10,000 pairs", regions * 1e4, MOST_CHANCE_OF_REGIONS * 1e4, "pairs"),
    ]
    told = (
        f"{len(found)} photos, {chance.all_pairs:,} unrelated pairs; of these are called near"
        f" {chance.flagged['unrelated']}, of pairs of road frames {chance.flagged['road']},"
        f" of cracks {chance.flagged['crack']}"
    )
    show(figures, f"{table(header, rows)}\n\n{told}", bars, as_json=as_json)


if __name__ == "__main__":
    main()
