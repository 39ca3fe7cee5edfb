"""Which claim a picture belongs to: told by folders, names, subjects or a table."""

import csv
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Literal

from app.claim_ids import checked_claim_id
from app.errors import InvalidValue
from app.labels import check_label_name, check_labels
from app.sources.found import BETWEEN, Found, Refused, Skipped, as_text, file_names
from app.sources.inputs import folder_name

_NOT_IN_A_CLAIM_ID = re.compile(r"[^A-Za-z0-9._-]")
_FIRST = re.compile(r"[^A-Za-z0-9]*")
_DAY_FIRST = re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})")
_ISO = re.compile(r"\d{4}-?\d{2}-?\d{2}")

Item = Found | Refused | Skipped
RuleName = Literal["parent", "name", "csv", "regex"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """The claim of a picture, and what else was told with it."""

    claim_id: str
    """Fit for the table: what a claim id can't have became `-`."""
    written: str
    """As it was found. Two of them that give one `claim_id` are one claim from then on."""
    day: date | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


Rule = Callable[[Item], Claimed]


def claim_rule(
    name: RuleName,
    *,
    table: Path | None = None,
    pattern: str | None = None,
    on: Literal["name", "subject"] = "name",
) -> Rule:
    """Return the function from an item to its claim, which raises InvalidValue where none can be told.

    `parent`: the folder that the file lies in, in its archive or outside. `name`: the file's name up to the first
    of `_` and `.`, as in `KD-7_front.jpg`. `csv`: the columns `file` and `claim` of `table`, perhaps `date`, and
    others that become labels; `file` is an address, or a path relative to the table's folder, and may go on
    into an input as `where` does: `mail.zip > inbox/7.msg`. `regex`: the group `claim` of `pattern`, perhaps
    `date`, and others that become labels; it is looked for in the names of files from the innermost outwards,
    or in the subjects of messages.

    Raises InvalidValue for a table or a pattern that can't be used.
    """
    if name == "parent":
        return lambda item: _claimed(_folder(item), None, {})
    if name == "name":
        return lambda item: _claimed(file_names(item)[0].replace(".", "_").partition("_")[0], None, {})
    if name == "csv":
        if table is None:
            raise InvalidValue("--claim-from csv needs --claims FILE.csv", field="claims")
        return Table(table)
    if pattern is None:
        raise InvalidValue("--claim-from regex needs a pattern", field="pattern")
    return _from_pattern(pattern, on)


def day_of(text: str) -> date:
    """Read a day, as 2025-12-31 or 31.12.2025. Raises InvalidValue.

    >>> day_of("31.12.2025") == day_of("2025-12-31")
    True
    """
    written = text.strip()
    try:
        if day_first := _DAY_FIRST.fullmatch(written):
            day, month, year = map(int, day_first.groups())
            return date(year, month, day)
        if _ISO.fullmatch(written):
            return date.fromisoformat(written)
    except ValueError:
        pass  # a 30th of February
    raise InvalidValue(f"{as_text(text)[:40]!r} is no day; write 2025-12-31 or 31.12.2025", field="date")


def _claimed(written: str, day: date | None, labels: dict[str, str]) -> Claimed:
    text = written.strip()
    if not text:
        raise InvalidValue("no claim can be told for this file", field="claim_id")
    claim_id = _NOT_IN_A_CLAIM_ID.sub("-", text)
    return Claimed(checked_claim_id(_FIRST.sub("", claim_id, count=1)), text, day, labels)


def _folder(item: Item) -> str:
    for step in reversed(item.steps):
        folder = step.name.replace("\\", "/").rpartition("/")[0] if step.kind in {"zip", "tar"} else ""
        if folder.strip("/."):
            return folder.rstrip("/").rpartition("/")[2]
    if "://" in item.path:
        return item.path.partition("://")[2].rpartition("/")[0].rpartition("/")[2]
    return folder_name(item.path)


def _from_pattern(pattern: str, on: str) -> Rule:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise InvalidValue(f"the pattern can't be used: {error}", field="pattern") from error
    if "claim" not in compiled.groupindex:
        raise InvalidValue("the pattern needs a group for the claim: (?P<claim>...)", field="pattern")
    for group in compiled.groupindex:
        check_label_name(group)

    def from_pattern(item: Item) -> Claimed:
        texts = list(file_names(item)) if on == "name" else list(_subjects(item))
        for text in texts:
            match = compiled.search(text)
            if match and match["claim"]:
                return _with_columns(match["claim"], match.groupdict(default=""))
        where = "file name" if on == "name" else "subject"
        raise InvalidValue(f"the pattern for the claim is in no {where} of this file", field="claim_id")

    return from_pattern


def _subjects(item: Item) -> Iterator[str]:
    return (step.subject for step in reversed(item.steps) if step.subject)


class Table:
    """The rule of a table: what its line for a file says, or for what the file lies in."""

    def __init__(self, table: Path):
        self.name = table.name
        self._lines = _read_table(table)

    def __call__(self, item: Item) -> Claimed:
        """As a Rule."""
        place = [_real(item.path), *(step.where for step in item.steps)]
        for length in range(len(place), 0, -1):
            line = self._lines.get(BETWEEN.join(place[:length]))
            if line is not None:
                return _with_columns(line["claim"], line)
        raise InvalidValue(f"{self.name} has no line for this file", field="claim_id")

    def lines_without(self, inputs: Iterable[str]) -> list[str]:
        """The files, as they are written, of lines that are neither for one of these inputs nor in one."""
        there = {_real(name) for name in inputs}
        used = set()
        for place, line in self._lines.items():
            parts = place.split(BETWEEN)
            if any(BETWEEN.join(parts[:length]) in there for length in range(1, len(parts) + 1)):
                used.add(line["file"])
        unused = dict.fromkeys(line["file"] for line in self._lines.values() if line["file"] not in used)
        return list(map(as_text, unused))


def _read_table(table: Path) -> dict[str, dict[str, str]]:
    """Return the lines by the place that they are for. A line that is not fit is an error when it is used."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, strict=True)
            columns = list(rows.fieldnames or ())
            if not {"file", "claim"} <= set(columns):
                raise InvalidValue(f"{table} needs the columns file and claim", field="claims")
            if len(set(columns)) < len(columns):
                raise InvalidValue(f"{table} has two columns of one name", field="claims")
            for column in filter(None, columns):  # a comma at the end of the line makes one without a name
                check_label_name(column)
            lines: dict[str, dict[str, str]] = {}
            for row in rows:
                line = {name: value or "" for name, value in row.items() if name}
                for place in _places(table, line["file"]):
                    if lines.setdefault(place, line) != line:
                        raise InvalidValue(
                            f"{table}, line {rows.line_num}: {as_text(line['file'])} has two claims",
                            field="claims",
                        )
            return lines
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:
        raise InvalidValue(f"{table} can't be read: {error}", field="claims") from error


def _places(table: Path, written: str) -> Iterator[str]:
    """What a line of the table may mean: a name may hold what else leads into an input."""
    if "://" in written:
        yield as_text(written)
        return
    yield _real(os.path.join(table.parent, written))  # noqa: PTH118 - as text
    path, between, within = written.partition(BETWEEN)
    if between:
        yield _real(os.path.join(table.parent, path)) + BETWEEN + as_text(within)  # noqa: PTH118


def _real(path: str) -> str:
    """Return the path behind all links, as text; an address is returned as it is."""
    return path if "://" in path else as_text(os.path.realpath(path))


def _with_columns(claim: str, columns: Mapping[str, str]) -> Claimed:
    labels = check_labels(
        {
            name: as_text(value.strip())
            for name, value in columns.items()
            if name not in {"file", "claim", "date"} and value.strip()
        }
    )
    written_day = columns.get("date", "").strip()
    return _claimed(claim, day_of(written_day) if written_day else None, labels)
