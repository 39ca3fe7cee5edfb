"""What the workers write down and the checker reads: one line of JSON per event, a file for each process.

Times are `time.monotonic_ns()`, which all processes of one machine share.
"""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, get_args


@dataclass(frozen=True, slots=True)
class Drawn:
    """The fingerprint of some bytes: all that `matching.kinds.compare` looks at, in hexadecimal."""

    sha256: str
    pixel_sha256: str
    low_information: bool
    page: bool
    turned: str


@dataclass(frozen=True, slots=True)
class Sent:
    """Bytes are about to be stored under this id; whether they were is not known yet."""

    image_id: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Answered:
    """An acknowledged upload of one file, with the images that its response lists as matches."""

    began_ns: int
    answered_ns: int
    image_id: str
    claim_id: str
    sha256: str
    created_seq: int
    matches: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DeleteRequested:
    """From this time on a response may leave the image out."""

    at_ns: int
    image_id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """An acknowledged delete: to an upload that begins later the image is gone."""

    at_ns: int
    image_id: str


@dataclass(frozen=True, slots=True)
class Erased:
    """The bytes of this id are being erased."""

    image_id: str


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """A reindex, and how many images it found wrong in the index that it replaced."""

    wrong: int


@dataclass(frozen=True, slots=True)
class Crashed:
    """A worker met an error that is none of "try again later"."""

    error: str


Event: TypeAlias = Drawn | Sent | Answered | DeleteRequested | Deleted | Erased | Rebuilt | Crashed
_KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in get_args(Event)}


class Journal:
    """The append-only file of one process; what is written survives its SIGKILL."""

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, event: Event) -> None:
        """Append one event in one system call, so that threads never mix theirs."""
        line = json.dumps([type(event).__name__, asdict(event)]).encode() + b"\n"
        if os.write(self._file, line) != len(line):
            raise OSError("an event was written in part")


def read_history(folder: Path) -> list[Event]:
    """All events of a run. A last line that a kill cut short was never acknowledged, and is left out."""
    return [
        _event(line)
        for path in sorted(folder.glob("*.jsonl"))
        for line in path.read_bytes().splitlines(keepends=True)
        if line.endswith(b"\n")
    ]


def now_ns() -> int:
    """The time of an event."""
    return time.monotonic_ns()


def of_kind(events: Iterable[Event], kind: type[Any]) -> list[Any]:
    """The events of one class."""
    return [event for event in events if isinstance(event, kind)]


def _event(line: bytes) -> Event:
    name, fields = json.loads(line)
    if "matches" in fields:
        fields["matches"] = tuple(fields["matches"])
    event: Event = _KINDS[name](**fields)
    return event
