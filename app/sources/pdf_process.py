"""What runs in a process that reads PDFs: `python -m app.sources.pdf_process LIMITS FILE`.

LIMITS is `Limits` as JSON, FILE the descriptor of the file that each PDF is put in. It answers as
`pdf_messages` says and ends when stdin does: then its parent is gone. It has a memory limit for life and a CPU
limit per PDF; the wall limit is its parent's business.
"""

import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from PIL import Image

from app.errors import BrokenPicture, ClaimprintError, DecoderKilled
from app.imaging.bounds import address_space, answers_alone, limit_cpu
from app.imaging.protocol import ACCEPTED, Frames, framed, write_all
from app.sources.limits import Limits
from app.sources.pdf_messages import PIECE_BYTES, refusal
from app.sources.pdf_pictures import File, Item, Picture, Small, items_of, open_pdf

_NICENESS = 2
# One whose parent was killed without a word, in the middle of a task, ends itself this much later.
_GRACE_SECONDS = 5.0


class Reader:
    """Answers one request after the other about one PDF after the other."""

    def __init__(self, limits: Limits, descriptor: int):
        self.limits = limits
        self._path = f"/proc/self/fd/{descriptor}"
        self._items: Iterator[Item] = iter(())
        self._leaving = False
        self._most_at_rest = address_space() + limits.pdf_memory_bytes // 4
        most = address_space() + limits.pdf_memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def answer(self, task: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
        """Return an item, and the bytes that follow it; every failure becomes one."""
        signal.setitimer(signal.ITIMER_REAL, self.limits.pdf_wall_seconds + _GRACE_SECONDS)
        try:
            return self._opened() if task["do"] == "open" else self._next()
        except ClaimprintError as error:
            return refusal(error), b""
        except MemoryError:
            # What is left of the heap may be in pieces: the next PDF gets a fresh process.
            self._leaving = True
            self._items = iter(())
            limit = self.limits.pdf_memory_bytes
            return refusal(
                DecoderKilled(f"The PDF takes more than {limit} bytes of memory.", limit=limit)
            ), b""
        except Exception as error:  # noqa: BLE001 - the parent reports it
            return refusal(BrokenPicture(f"The PDF can't be read: {error or type(error).__name__}.")), b""
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _opened(self) -> tuple[dict[str, Any], bytes]:
        limit_cpu(self.limits.pdf_cpu_seconds)
        self._items = _items(self._path, self.limits)
        return {"item": "opened"}, b""

    def _next(self) -> tuple[dict[str, Any], bytes]:
        item = next(self._items, None)
        if item is None:
            return {"item": "end", "leaving": self._leaving or address_space() > self._most_at_rest}, b""
        if isinstance(item, Picture):
            place = {"page": item.page, "position": item.position}
            return {"item": "picture", **place, "byte_count": len(item.data)}, item.data
        if isinstance(item, File):
            named = {"name": item.name, "position": item.position}
            return {"item": "file", **named, "byte_count": len(item.data)}, item.data
        if isinstance(item, Small):
            return {"item": "passed", "page": item.page, "position": item.position}, b""
        return refusal(item.error, page=item.page, position=item.position, name=item.name), b""


def _items(path: str, limits: Limits) -> Iterator[Item]:
    pdf = open_pdf(path)
    try:
        yield from items_of(pdf, limits)
    finally:
        pdf.close()


def main() -> None:
    """Serve until stdin ends."""
    answers = answers_alone()
    Image.preinit()
    Image.MAX_IMAGE_PIXELS = None  # the limit is ours, and was looked at
    reader = Reader(Limits(**json.loads(sys.argv[1])), int(sys.argv[2]))
    os.nice(_NICENESS)
    with suppress(BrokenPipeError):  # the parent is gone, which is nothing to complain about
        _serve(reader, answers)


def _serve(reader: Reader, answers: int) -> None:
    write_all(answers, framed(ACCEPTED))
    frames = Frames()
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        frames.feed(data)
        while (task := frames.next()) is not None:
            item, content = reader.answer(json.loads(task))
            write_all(answers, framed(json.dumps(item).encode()))
            for start in range(0, len(content), PIECE_BYTES):
                write_all(answers, framed(content[start : start + PIECE_BYTES]))


if __name__ == "__main__":
    main()
