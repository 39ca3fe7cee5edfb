"""Files and folders: which pictures to take, and which claim each belongs to."""

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from app.errors import InvalidValue


def find_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files named, and all in the folders named, in a fixed order; hidden files and folders are left out."""
    for path in paths:
        if path.is_dir():
            for folder, folders, names in os.walk(path):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                yield from (Path(folder, name) for name in sorted(names) if not name.startswith("."))
        else:
            yield path


def claim_rule(name: str, table: Path | None) -> Callable[[Path], str]:
    """Return the function from a file to its claim id.

    `parent`: the folder it lies in. `name`: its name up to the first of `_` and `.`, as in
    `KD-7_front.jpg`. `csv`: the columns `file` and `claim` of `table`, where `file` is the path
    relative to the table's folder. Raises InvalidValue for a table that can't be read.
    """
    if name == "parent":
        return lambda path: _real(path).parent.name
    if name == "name":
        return lambda path: path.name.replace(".", "_").partition("_")[0]
    if table is None:
        raise InvalidValue("--claim-from csv needs --claims FILE.csv", field="claims")
    claims = _read_table(table)

    def from_table(path: Path) -> str:
        claim_id = claims.get(_real(path))
        if claim_id is None:
            raise InvalidValue(f"{table.name} has no line for this file", field="claim_id")
        return claim_id

    return from_table


def _real(path: Path) -> Path:
    """Return the path behind all symbolic links; unlike `Path.resolve` a loop of them is no error."""
    try:
        return Path(os.path.realpath(path))
    except ValueError as error:
        raise InvalidValue("the name of a file holds a NUL character", field="file") from error


def _read_table(table: Path) -> dict[Path, str]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.DictReader(file)
            if not {"file", "claim"} <= set(lines.fieldnames or ()):
                raise InvalidValue(f"{table} needs the columns file and claim", field="claims")
            return {_real(table.parent / (line["file"] or "")): line["claim"] or "" for line in lines}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidValue(f"{table} can't be read: {error}", field="claims") from error
