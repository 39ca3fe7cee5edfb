"""The journal of a bulk intake: a line of JSON for everything that came in, and what became of it."""

import fcntl
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from uuid import UUID

from app.errors import Conflict
from app.storage.local import full_disk_is_an_answer

STORED, ALREADY_THERE, REJECTED, SKIPPED = "stored", "already there", "rejected", "skipped"
"""What became of a picture; skipped is what is no picture inside of an archive or message."""
LEFT = "left"
"""What became of an input that can't be read now: the next run reads it, all of it."""
_COMPLETE = "complete"


class Journal:
    """Appends to a file of lines and knows what the runs before wrote; one run at a time has it open.

    It is no authority: what it calls stored is looked up in the database, and what it does not know is read again.
    Raises Conflict where another run has it open, and StorageFull.
    """

    def __init__(self, path: Path):
        self.path = path
        with full_disk_is_an_answer():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.close()
            raise Conflict(f"another run writes {path}: wait for it, or name another --journal") from None
        self._whole = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with full_disk_is_an_answer():
            self._file.close()  # it writes what is still to be written

    def remembered(self, name: str, stamp: str) -> Sequence[UUID] | None:
        """The images of an input that was taken in whole, with nothing rejected, while it had that stamp.

        Told once, and then forgotten. None where it is to be read.
        """
        before, pictures = self._whole.pop(name, (None, ()))
        return pictures if before == stamp else None

    def write(self, **values: Any) -> None:
        """Append a line. Raises StorageFull."""
        with full_disk_is_an_answer():
            self._file.write(json.dumps(values, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def complete(self, name: str, stamp: str) -> None:
        """Append that all of an input has its lines. Raises StorageFull."""
        self.write(input=name, stamp=stamp, state=_COMPLETE)

    def flush(self) -> None:
        """Hand what was written to the operating system. Raises StorageFull."""
        with full_disk_is_an_answer():
            self._file.flush()

    def _read(self) -> dict[str, tuple[str, Sequence[UUID]]]:
        whole: dict[str, tuple[str, Sequence[UUID]]] = {}
        under_way: dict[tuple[str, str], dict[UUID, None]] = defaultdict(dict)
        refused: set[tuple[str, str]] = set()
        self._file.seek(0)
        torn = False
        for raw in self._file:
            torn = not raw.endswith(b"\n")
            try:
                line = json.loads(raw)
                key = line["input"], line["stamp"]
                state = line["state"]
                if state in {STORED, ALREADY_THERE}:
                    under_way[key][UUID(line["image_id"])] = None
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # torn by a crash: that input is read again
            if state == REJECTED:
                refused.add(key)
            elif state == _COMPLETE:
                pictures = tuple(under_way.pop(key, ()))
                if key in refused:
                    refused.discard(key)
                    whole.pop(key[0], None)
                else:
                    whole[key[0]] = key[1], pictures
        self._file.seek(0, os.SEEK_END)
        if torn:
            self._file.write(b"\n")
        return whole
