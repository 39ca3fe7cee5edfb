"""`python -m benchmarks.verifier`: the two radii of the rule for near duplicates, chosen on half of the photos.

Prints what each pair of radii flags by chance and what it finds, on the half they are chosen by; then the radii of
the service on the other half. docs/decisions/0004 tells how they were chosen. Fingerprints come as in `robustness`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from app.fingerprints.value import COLUMN_OF, VERIFIER
from app.matching.kinds import PROPOSING_HASHES
from app.settings import Settings
from benchmarks.copies import ALIKE, Photo, photos
from benchmarks.edits import OWNERS, TURNED
from benchmarks.report import show, table

LIGHT = (*OWNERS, *TURNED, "cropped by 1 % a side", "cropped by 2 % a side", "rotated by 1 degree")
"""Edits that a rule over whole-image hashes should see through."""

NEAR = (8, 10, 12, 14)
VERIFIERS = (40, 48, 56, 64, 72, 84, 256)
CHOOSING, REPORTING = 0, 1

Bits = NDArray[np.int64]
"""int64[..., 8, 2]: for each orientation, of the nearest proposing hash and of the verifier."""


@dataclass(frozen=True, slots=True, eq=False)
class Half:
    """Distances within one half of the photos."""

    pairs: Bits
    """Of every pair of photos; `folders` names both folders where they are one and alike, else "unrelated"."""
    folders: NDArray[np.str_]
    copies: dict[str, Bits]

    @classmethod
    def of(cls, found: Sequence[Photo]) -> "Half":
        """Compare each photo with those before it, and with its copies."""
        turned = np.stack([photo.own.turned for photo in found])
        own = turned[:, 0]
        pairs = [_bits(turned[number], own[:number]) for number in range(len(found))]
        folders = np.array([photo.folder for photo in found])
        alike = [
            np.where((folders[:number] == folder) & (folder in ALIKE), folder, "unrelated")
            for number, folder in enumerate(folders)
        ]
        copies = {
            edit: np.concatenate(
                [
                    _bits(photo.copies[edit].turned, own[number : number + 1])
                    for number, photo in enumerate(found)
                ]
            )
            for edit in LIGHT
        }
        return cls(np.concatenate(pairs), np.concatenate(alike), copies)

    def row(self, near: int, verifier: int) -> list[str]:
        """What the rule with these radii does, as cells."""
        flagged = _within(self.pairs, near, verifier)
        counts = [np.count_nonzero(flagged & (self.folders == name)) for name in ("unrelated", *ALIKE)]
        shares = {edit: float(_within(bits, near, verifier).mean()) for edit, bits in self.copies.items()}
        worst = sorted(shares, key=lambda edit: shares[edit])[:2]
        return [
            f"{near} / {verifier if verifier < max(VERIFIERS) else 'none'}",
            *map(str, counts),
            f"{np.mean(list(shares.values())):.4f}",
            ", ".join(f"{shares[edit]:.3f} {edit}" for edit in worst),
        ]


def _bits(query: NDArray[np.uint64], others: NDArray[np.uint64]) -> Bits:
    bits = np.bitwise_count(query[None] ^ others[:, None, :])
    nearest = bits[:, :, [COLUMN_OF[name] for name in PROPOSING_HASHES]].min(axis=2)
    # Small enough to keep those of all pairs.
    return np.stack([nearest, bits[:, :, VERIFIER].sum(axis=2, dtype=np.int64)], axis=2).astype(np.int16)


def _within(bits: Bits, near: int, verifier: int) -> NDArray[np.bool_]:
    return np.asarray(((bits[..., 0] <= near) & (bits[..., 1] <= verifier)).any(axis=1))


@click.command()
@click.option(
    "--keep", type=click.Path(path_type=Path), help="File for the fingerprints; a later run reads it."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(keep: Path | None, as_json: bool) -> None:
    """Measure what pairs of radii flag and find."""
    settings = Settings.model_construct()
    chosen = settings.near_duplicate_distance, settings.verifier_distance
    found = photos(keep)
    header = ["near / verifier", "unrelated", *ALIKE, "found", "least found"]
    choosing = Half.of([photo for photo in found if photo.half == CHOOSING])
    rows = [choosing.row(near, verifier) for near in NEAR for verifier in VERIFIERS]
    reporting = Half.of([photo for photo in found if photo.half == REPORTING])
    reported = [reporting.row(*chosen)]
    told = (
        f"{len(choosing.pairs)} pairs to choose by:\n\n{table(header, rows)}\n\n"
        f"{len(reporting.pairs)} other pairs:\n\n{table(header, reported)}"
    )
    show({"choosing": rows, "reported": reported, "columns": header}, told, [], as_json=as_json)


if __name__ == "__main__":
    main()
