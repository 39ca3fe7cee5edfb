"""What runs in a decoding process: `python -m app.imaging.child LIMITS NICENESS`, with `DecodeLimits` as JSON.

It reads tasks from stdin and answers on stdout (see `protocol`), writes renditions and nothing else, and ends
when stdin does: then its parent is gone. It has a memory limit for life and a CPU limit per task; the wall
deadline is its parent's business.
"""

import errno
import io
import json
import os
import resource
import signal
import sys
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import AvifImagePlugin, Image

from app.errors import DecoderKilled, PictureTooLarge, StorageFull
from app.fingerprints.keypoint_value import Keypoints
from app.fingerprints.keypoints import keypoints
from app.fingerprints.pattern import pattern
from app.fingerprints.value import FINGERPRINTED, Pattern
from app.fingerprints.whole import fingerprint
from app.imaging import protocol
from app.imaging.bounds import address_space, answers_alone, limit_cpu
from app.imaging.limits import DecodeLimits
from app.imaging.normalise import normalise

_QUALITY = 90
_FULL = {errno.ENOSPC, errno.EDQUOT}
# A child whose parent was killed without a word, in the middle of a task, ends itself this much later.
_GRACE_SECONDS = 5.0


class Decoder:
    """Answers one task after the other."""

    def __init__(self, limits: DecodeLimits):
        self.limits = limits
        self._writer = ThreadPoolExecutor(1, "rendition")
        self._beside = ThreadPoolExecutor(1, "details")
        self._warm_up()
        self._most_at_rest = address_space() + limits.memory_bytes // 4
        most = address_space() + limits.memory_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))

    def yield_to_others(self, niceness: int) -> None:
        """Let others go first on busy cores."""
        os.nice(niceness)
        # Linux has a priority for each thread.
        for thread in (self._writer, self._beside) if sys.platform == "linux" else ():
            thread.submit(os.nice, niceness).result()

    def answer(self, task: dict[str, str | None]) -> dict[str, Any]:
        """Work on one task under the CPU limit; every failure becomes an answer."""
        limit_cpu(self.limits.cpu_seconds)
        signal.setitimer(signal.ITIMER_REAL, self.limits.wall_seconds + _GRACE_SECONDS)
        leaving = False
        try:
            answer = self._fingerprinted(task)
        except MemoryError:
            # What is left of the heap may be in pieces: the next file gets a fresh process.
            leaving = True
            answer = protocol.failure(
                DecoderKilled(
                    f"Decoding the file takes more than {self.limits.memory_bytes} bytes of memory.",
                    limit=self.limits.memory_bytes,
                )
            )
        except Exception as error:  # noqa: BLE001 - the parent raises it
            answer = protocol.failure(error)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        answer["leaving"] = leaving or address_space() > self._most_at_rest
        return answer

    def _fingerprinted(self, task: dict[str, str | None]) -> dict[str, Any]:
        picture = normalise(self._bytes(str(task["path"])), self.limits)
        written: Future[None] | None = None
        if task["rendition"] is not None:
            written = self._writer.submit(_write_rendition, picture.image, task["rendition"])
        # The disk is waited for while the hashes are computed, on two cores where there are two.
        details = self._beside.submit(_details_of, picture.image)
        try:
            found, pixel_sha256 = fingerprint(picture.image), picture.pixel_sha256()
            surface, points = details.result()
            if found.information != FINGERPRINTED:
                points = points.first(0)  # it is the same as others by its bytes only
            answer = protocol.success(picture, found, surface, points, pixel_sha256)
        finally:
            # Whatever failed: the next picture must not find this one being worked on.
            wait([details])
            if written is not None:
                written.result()
        return answer

    def _bytes(self, path: str) -> bytes:
        size = Path(path).stat().st_size
        if size > self.limits.max_file_bytes:
            raise PictureTooLarge(
                f"The file has {size} bytes; the limit is {self.limits.max_file_bytes}.",
                limit=self.limits.max_file_bytes,
            )
        return Path(path).read_bytes()

    def _warm_up(self) -> None:
        """Import and allocate what the first picture would: its size is not that picture's fault."""
        Image.init()
        AvifImagePlugin.DEFAULT_MAX_THREADS = 1
        if self.limits.allow_heic:
            import pillow_heif  # noqa: F401
        drawn = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
        for name in ("JPEG", "PNG", "WEBP", "TIFF"):
            file = io.BytesIO()
            drawn.save(file, name)
            image = normalise(file.getvalue(), self.limits).image
            fingerprint(image)
            self._beside.submit(_details_of, image).result()
        self._writer.submit(_jpeg, drawn).result()


def _details_of(image: Image.Image) -> tuple[Pattern, Keypoints]:
    grey = image.convert("L")
    return pattern(grey), keypoints(grey)


def _write_rendition(image: Image.Image, path: str) -> None:
    try:
        with Path(path).open("wb") as file:
            file.write(_jpeg(image))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in _FULL:
            raise StorageFull("The disk is full: the picture could not be stored.") from error
        raise


def _jpeg(image: Image.Image) -> bytes:
    # Encoded in memory: Pillow reports a full disk as an encoder error without its number.
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY, subsampling="4:4:4")
    return file.getvalue()


def main() -> None:
    """Serve tasks until stdin ends."""
    answers = answers_alone()
    decoder = Decoder(DecodeLimits(**json.loads(sys.argv[1])))
    # Hashes and pattern are computed side by side, and would wait 5 ms for their turn.
    sys.setswitchinterval(0.0002)
    decoder.yield_to_others(int(sys.argv[2]))  # from here on: starting up should not wait
    with suppress(BrokenPipeError):  # the parent is gone, which is nothing to complain about
        _serve(decoder, answers)


def _serve(decoder: Decoder, answers: int) -> None:
    protocol.write_all(answers, protocol.framed(protocol.ACCEPTED))
    frames = protocol.Frames()
    while data := os.read(sys.stdin.fileno(), 1 << 16):
        frames.feed(data)
        while (task := frames.next()) is not None:
            protocol.write_all(answers, protocol.framed(protocol.ACCEPTED))
            answer = decoder.answer(json.loads(task))
            protocol.write_all(answers, protocol.framed(json.dumps(answer).encode()))
            if answer["leaving"]:
                return


if __name__ == "__main__":
    main()
