"""`python -m benchmarks.edited_elsewhere`: which copies are found that other people's programs edited.

Of each group in `edited-copies` the first file is stored, among all real photos; the others are looked for.
"""

import csv
from collections import Counter, defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import click

from app.matching.kinds import COPIES
from app.parts import rule_from
from app.settings import Settings
from benchmarks.copies import photo_files
from benchmarks.edited import Looked, Stored, look
from benchmarks.pictures import DATA
from benchmarks.report import Bar, show, table

LEAST_FOUND = {"garbage": 0.97, "egg": 0.97}

_STORED: list[Stored] = []


def groups(folder: Path) -> list[list[Path]]:
    """Files that are edits of one source, by the table beside them."""
    files: dict[str, list[Path]] = defaultdict(list)
    with (folder / "groups.csv").open() as lines:
        for row in csv.DictReader(lines):
            files[row["group"]].append(folder / row["file"])
    return list(files.values())


def _look_at(path: Path) -> Looked:
    return look(path.read_bytes())


def _kind_of(path: Path, number: int) -> tuple[str | None, int]:
    """What the stored one is to a copy; and how many of all others are told to be copies."""
    rule = rule_from(Settings.model_construct())
    found = _STORED[0].matches(look(path.read_bytes()), rule)
    kinds = {each.number: each.kind for each in found}
    return kinds.pop(number, None), sum(kind in COPIES for kind in kinds.values())


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(*, as_json: bool) -> None:
    """Look for them."""
    photos = photo_files()  # which says so if there is no data
    folders = [folder for folder in sorted((DATA / "edited-copies").iterdir()) if folder.is_dir()]
    grouped = {folder.name: groups(folder) for folder in folders}
    firsts = [group[0] for each in grouped.values() for group in each]
    with ProcessPoolExecutor() as processes:
        _STORED.append(Stored(list(processes.map(_look_at, [*firsts, *photos], chunksize=8))))
    numbers = {path: number for number, path in enumerate(firsts)}
    rows, bars, recall = [], [], {}
    with ProcessPoolExecutor() as processes:  # these have what is stored
        for name, each in grouped.items():
            copies = [(copy, numbers[group[0]]) for group in each for copy in group[1:]]
            found = list(processes.map(_kind_of, *zip(*copies, strict=True), chunksize=4))
            kinds = Counter(kind for kind, _ in found)
            recall[name] = sum(kinds[kind] for kind in COPIES) / len(copies)
            told = ", ".join(f"{count} {kind or 'not found'}" for kind, count in kinds.most_common())
            rows.append(
                [name, str(len(copies)), f"{recall[name]:.3f}", told, str(sum(more for _, more in found))]
            )
            if name in LEAST_FOUND:
                bars.append(
                    Bar(f"{name}: missed", 100 * (1 - recall[name]), 100 * (1 - LEAST_FOUND[name]), "%")
                )
    show(
        recall,
        table(["edited by others", "copies", "found", "told", "others told copies"], rows),
        bars,
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
