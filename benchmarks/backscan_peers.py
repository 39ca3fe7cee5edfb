"""`python -m benchmarks.backscan_peers --keep FOLDER`: others' tools on pictures of a scan, beside Claimprint.

On some plain files of the archive that `benchmarks.backscan` made in that folder, one way after the other: the
script that everybody writes first, imagehash's perceptual hash of each file, compared with a list of those before;
imagededup's, where it is installed; and `claimprint ingest` with its report. Told are seconds and memory, which of
the planted copies are found (in one family with their original), and how many families join others.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from benchmarks.archive import CLAIM_PATTERN
from benchmarks.backscan import COMMAND, report
from benchmarks.report import show, table

SHARE = 40  # one picture in so many is a copy
RADIUS = 10  # imagededup's own default, and what scripts have


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one way makes of the files."""

    name: str
    seconds: float
    memory_mb: float
    found: int
    families: int
    false_families: int


Families = list[list[str]]
"""Names of files that a way says belong together."""


def joined(names: Sequence[str], pairs: Iterable[tuple[int, int]]) -> Families:
    """Files joined by pairs of their numbers."""
    both = np.array(list(pairs), np.int64).reshape(-1, 2)
    edges = coo_array((np.ones(len(both)), (both[:, 0], both[:, 1])), shape=(len(names), len(names)))
    _, labels = connected_components(edges, directed=False)
    families = defaultdict(list)
    for name, label in zip(names, labels.tolist(), strict=True):
        families[label].append(name)
    return [each for each in families.values() if len(each) > 1]


def naive(folder: Path) -> Families:
    """A hash of each, compared with all before it."""
    names = sorted(path.name for path in folder.iterdir())
    before: list[imagehash.ImageHash] = []
    pairs = []
    for number, name in enumerate(names):
        with Image.open(folder / name) as image:
            own = imagehash.phash(image)
        pairs += [(number, other) for other, known in enumerate(before) if own - known <= RADIUS]
        before.append(own)
    return joined(names, pairs)


def imagededup(folder: Path) -> Families:
    """As its documentation has it."""
    from imagededup.methods import PHash

    hasher = PHash(verbose=False)
    hashes = hasher.encode_images(image_dir=str(folder))
    near = hasher.find_duplicates(encoding_map=hashes, max_distance_threshold=RADIUS)
    names = sorted(near)
    number_of = {name: number for number, name in enumerate(names)}
    return joined(
        names,
        ((number_of[name], number_of[other]) for name, others in near.items() for other in others),
    )


def claimprint(folder: Path) -> Families:
    """A scan into a new collection, and its report."""
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        data, out = Path(scratch) / "data", Path(scratch) / "audit.jsonl"
        command = [COMMAND, "ingest", str(folder), "--claim-from", "regex", "--claim-regex", CLAIM_PATTERN]
        subprocess.run(
            command,
            env=os.environ | {"DATA_DIR": str(data), "DATABASE_URL": ""},
            check=True,
            capture_output=True,
        )
        report(data, out)
        families = [json.loads(line)["images"] for line in out.read_text().splitlines()]
    return [[image["file_name"] for image in family] for family in families]


WAYS: dict[str, Callable[[Path], Families]] = {
    "imagehash and a list": naive,
    "imagededup": imagededup,
    "Claimprint": claimprint,
}


def chosen_files(archive: Path, folder: Path, count: int) -> dict[str, int]:
    """Link some of the archive's plain files into a folder, one in SHARE a copy; what each shows, by its name."""
    plain = {path.name: path for path in sorted((archive / "sources").glob("*/*/*.jpg"))}
    of_picture: dict[int, list[str]] = defaultdict(list)
    for line in (archive / "truth.jsonl").read_text().splitlines():
        each = json.loads(line)
        name = f"{each['claim']}_{each['number']}.jpg"
        if name in plain:
            of_picture[each["shown"]].append(name)
    copied = [number for number, names in of_picture.items() if len(names) > 1][: count // SHARE]
    single = [number for number, names in of_picture.items() if len(names) == 1]
    numbers = copied + single[: count - 2 * len(copied)]
    shown = {name: number for number in numbers for name in of_picture[number]}
    for name in shown:
        os.link(plain[name], folder / name)
    return shown


def measured(name: str, folder: Path, shown: dict[str, int]) -> Outcome:
    """Run a way in a process of its own, and compare what it finds with what was planted."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.backscan_peers", "--only", name, "--folder", str(folder)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    seconds = time.perf_counter() - started
    answer = json.loads(done.stdout)
    families = [[shown[file] for file in family] for family in answer["families"]]
    found = sum(len(family) - len(set(family)) for family in families)
    return Outcome(
        name=name,
        seconds=seconds,
        memory_mb=answer["memory_mb"],
        found=found,
        families=len(families),
        false_families=sum(len(set(family)) > 1 for family in families),
    )


@click.command()
@click.option(
    "--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder of benchmarks.backscan."
)
@click.option("--pictures", default=8_000, show_default=True, help="Plain files.")
@click.option("--only", type=click.Choice(list(WAYS)), help="Run one way here, on all files of --folder.")
@click.option("--folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def main(keep: Path | None, pictures: int, only: str | None, folder: Path | None, *, as_json: bool) -> None:
    """Compare ways to scan."""
    if only is not None and folder is not None:
        families = WAYS[only](folder)
        most = max(
            resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        click.echo(json.dumps({"families": families, "memory_mb": most / 1024}))
        return
    if keep is None:
        raise click.UsageError("--keep is needed")
    flat = keep.absolute() / "flat"
    shutil.rmtree(flat, ignore_errors=True)
    flat.mkdir()
    shown = chosen_files(keep / "archive", flat, pictures)
    copies = len(shown) - len(set(shown.values()))
    outcomes = []
    for name in WAYS:
        try:
            outcomes.append(measured(name, flat, shown))
        except subprocess.CalledProcessError:
            click.echo(f"{name} can't be run here", err=True)
    rows = [
        [
            each.name,
            f"{each.seconds:.0f}",
            f"{len(shown) / each.seconds:.1f}",
            f"{each.memory_mb:.0f}",
            f"{each.found} of {copies}",
            f"{each.false_families} of {each.families}",
        ]
        for each in outcomes
    ]
    columns = [
        "way",
        "seconds",
        "pictures a second",
        "MB of the largest process",
        "copies found",
        "families, false",
    ]
    show(
        {"pictures": len(shown), "ways": [asdict(each) for each in outcomes]},
        table(columns, rows),
        [],
        as_json=as_json,
    )


if __name__ == "__main__":
    main()
