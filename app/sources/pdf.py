"""The pictures of PDFs, which are read in processes of their own that can be killed."""

import contextlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, BinaryIO, Self, cast

from app.errors import ClaimprintError, DecoderKilled, Unavailable
from app.imaging.bounds import OVER_CPU
from app.imaging.process import child_environment
from app.imaging.protocol import Frames, framed, write_all
from app.sources.found import Step, as_text
from app.sources.limits import MIB, Limits
from app.sources.members import Broken, Member, Members, Passed
from app.sources.pdf_messages import refused

_START_SECONDS = 60.0
_IN_MEMORY_BYTES = 4 * MIB


class PdfReaders:
    """Processes that read PDFs, started when they are needed and kept for the next PDF. For any thread."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._lock = threading.Lock()
        self._idle: list[_Process] = []
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes that nobody uses, and each other one as soon as that is so."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for process in idle:
            process.end()

    @contextmanager
    def reading(self, file: BinaryIO) -> Iterator["_Process"]:
        """Lend a process that has the PDF open; one that leaves it is not used again. Raises Unavailable."""
        process = self._with(file)
        try:
            yield process
        finally:
            with self._lock:
                kept = process.at_rest and not self._closed
                if kept:
                    self._idle.append(process)
            if not kept:
                process.end()

    def _with(self, file: BinaryIO) -> "_Process":
        while True:
            with self._lock:
                process = self._idle.pop() if self._idle else None
            is_new = process is None
            process = process or _Process(self.limits)
            try:
                process.open(file)
            except BaseException as error:
                process.end()
                # One that waited may have died of something else, or be dying of its last PDF.
                if is_new or not isinstance(error, DecoderKilled):
                    raise
            else:
                return process


def pdf_members(file: BinaryIO, readers: PdfReaders) -> Members:
    """Yield the pictures of a PDF, page by page, and the files in it. Raises Unavailable, BrokenPicture.

    A JPEG comes as the bytes it was put in with. What makes the process run into its limits ends the PDF.
    """
    with readers.reading(file) as process:
        while True:
            item, content = process.next()
            if item["item"] == "end":
                return
            place = _place(item)
            if item["item"] == "passed":
                yield Passed(place)
            elif item["item"] == "refused":
                yield Broken(place, refused(item))
            else:
                with content:
                    yield Member(place, content, item["item"] == "picture")


def _place(item: dict[str, Any]) -> tuple[Step, ...]:
    position, page = item.get("position"), item.get("page")
    if position is None:
        return ()
    if page is not None:
        return (Step("pdf", "", int(position), page=int(page)),)
    return (Step("pdf", as_text(str(item.get("name", ""))), int(position)),)


class _Process:
    """One process and the file that it reads. One caller at a time."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.at_rest = False
        self._frames = Frames()
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        try:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    "app.sources.pdf_process",
                    _limits(limits),
                    str(self._file.fileno()),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                env=child_environment(),
                pass_fds=(self._file.fileno(),),
            )
        except OSError as error:
            self._file.close()
            raise Unavailable(f"The process that reads PDFs can't be started: {error.strerror}.") from error
        self._tasks = cast("io.FileIO", self._process.stdin)
        self._answers = cast("io.FileIO", self._process.stdout)
        try:
            ready = self._message(time.monotonic() + _START_SECONDS)
        except (EOFError, ValueError):
            ready = None
        if ready is None:
            self.end()
            raise Unavailable("The process that reads PDFs does not start.")
        self.at_rest = True

    def open(self, file: BinaryIO) -> None:
        """Give it a PDF, as a copy. Raises DecoderKilled."""
        self.at_rest = False
        file.seek(0)
        self._file.seek(0)
        self._file.truncate()
        shutil.copyfileobj(file, self._file, MIB)
        self._file.flush()
        self._ask("open")

    def next(self) -> tuple[dict[str, Any], BinaryIO]:
        """Return the next item, and its bytes if it has some. Raises DecoderKilled."""
        item, content = self._ask("next")
        self.at_rest = item["item"] == "end" and not item["leaving"]
        return item, content

    def end(self) -> None:
        """Kill it."""
        self._process.kill()
        self._process.wait()
        for file in (self._tasks, self._answers, self._file):
            with contextlib.suppress(OSError):
                file.close()

    def _ask(self, what: str) -> tuple[dict[str, Any], BinaryIO]:
        deadline = time.monotonic() + self.limits.pdf_wall_seconds
        try:
            write_all(self._tasks.fileno(), framed(json.dumps({"do": what}).encode()))
            message = self._message(deadline)
            if message is not None:
                item = json.loads(message)
                content = self._content(int(item.get("byte_count", 0)), deadline)
                if content is not None:
                    _check(item)
                    return item, content
        except (EOFError, BrokenPipeError):
            raise self._death() from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            self._process.kill()
            raise DecoderKilled(
                "The process that reads PDFs gave no sensible answer for this one."
            ) from error
        self._process.kill()
        seconds = self.limits.pdf_wall_seconds
        raise DecoderKilled(
            f"Reading a picture of the PDF takes more than {seconds:g} seconds.", limit=seconds
        )

    def _content(self, byte_count: int, deadline: float) -> BinaryIO | None:
        if not 0 <= byte_count <= max(self.limits.max_nested_bytes, self.limits.max_file_bytes):
            raise ValueError(byte_count)
        # Closed by who asked.
        large = byte_count > _IN_MEMORY_BYTES
        content: BinaryIO = tempfile.TemporaryFile() if large else io.BytesIO()  # noqa: SIM115
        try:
            while content.tell() < byte_count:
                piece = self._message(deadline)
                if piece is None:
                    content.close()
                    return None
                content.write(piece)
        except (EOFError, ValueError):
            content.close()
            raise
        content.seek(0)
        return content

    def _message(self, deadline: float) -> bytes | None:
        return self._frames.read(self._answers.fileno(), deadline)

    def _death(self) -> ClaimprintError:
        self._process.kill()
        if self._process.wait() == -OVER_CPU:
            seconds = self.limits.pdf_cpu_seconds
            return DecoderKilled(f"Reading the PDF takes more than {seconds} CPU seconds.", limit=seconds)
        return DecoderKilled("The process that reads PDFs crashed on this one.")


def _check(item: dict[str, Any]) -> None:
    if item["item"] == "refused":
        refused(item)
    elif item["item"] not in {"opened", "end", "passed", "picture", "file"}:
        raise ValueError(item["item"])
    _place(item)


def _limits(limits: Limits) -> str:
    return json.dumps(asdict(limits))
