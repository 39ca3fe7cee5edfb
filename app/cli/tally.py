"""The tally of an intake: what became of its pictures so far, how fast they come, and how long it will take."""

import json
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from app.sources.taken import Taken

_TERMINAL_SECONDS = 0.5
_LOG_SECONDS = 30.0  # where nobody watches
_WINDOW_SECONDS = 60.0  # that the rate is of


class Tally:
    """Counts, and tells how far it is: on a terminal in one line, elsewhere in a line now and then."""

    def __init__(self, byte_count: int, *, as_json: bool):
        self.states: Counter[str] = Counter()
        self.used_elsewhere = 0
        self.spellings: dict[str, set[str]] = {}
        """Of each claim, as it was written: claims that differ in what an id can't have become one."""
        self._byte_count = byte_count
        self._as_json = as_json
        self._started = time.monotonic()
        self._before: deque[tuple[float, int, int]] = deque()

    @property
    def rejected(self) -> int:
        """How many pictures, or inputs, could not be taken."""
        return self.states["rejected"]

    def count(self, item: "Taken") -> None:
        """Count one picture."""
        from app.matching.kinds import COPIES

        self.states[item.state] += 1
        self.used_elsewhere += item.verdict in COPIES
        # Of what an earlier run took, the id alone is known.
        if item.claimed is not None and item.answer is not None:
            self.spellings.setdefault(item.claimed.claim_id, set()).add(item.claimed.written)

    @contextmanager
    def shown(self, bytes_done: Callable[[], int]) -> Iterator[None]:
        """Tell how far it is, for as long as this lasts."""
        over = threading.Event()
        watched = sys.stderr.isatty() and not self._as_json

        def show() -> None:
            while not over.wait(_TERMINAL_SECONDS if watched else _LOG_SECONDS):
                self._show(bytes_done(), watched=watched)
            if watched:
                click.echo(err=True)

        thread = threading.Thread(target=show, name="tally", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def sum_up(self, journal: Path, *, broke_off: bool) -> None:
        """Print the end of it."""
        seconds = time.monotonic() - self._started
        if self._as_json:
            summary: dict[str, Any] = {"claim_ids_of_several_spellings": len(self._of_several())}
            summary |= self._counts() | {"seconds": round(seconds, 1), "finished": not broke_off}
            click.echo(json.dumps({"summary": summary | {"journal": str(journal)}}))
        counts = (
            (self.states["stored"], "new"),
            (self.states["already there"], "already stored"),
            (self.states["rejected"], "rejected"),
            (self.states["skipped"], "that are no pictures skipped"),
            (self.used_elsewhere, "used in another claim"),
        )
        if self.states["left"]:
            click.echo(f"{self.states['left']} inputs are left for the next run", err=True)
        for claim_id, written in sorted(self._of_several())[:1]:
            click.echo(
                f"{len(self._of_several())} claim ids stand for several spellings, as {claim_id}:"
                f" {', '.join(map(repr, sorted(written)[:2]))}",
                err=True,
            )
        told = ", ".join(f"{number} {name}" for number, name in counts)
        pictures = self.states["stored"] + self.states["already there"]
        click.echo(f"{pictures} pictures in {seconds:.1f} s: {told}", err=True)
        click.echo(f"what became of each is in {journal}", err=True)
        if broke_off:
            click.echo("stopped; run it again to go on", err=True)

    def _of_several(self) -> list[tuple[str, set[str]]]:
        return [(claim_id, written) for claim_id, written in self.spellings.items() if len(written) > 1]

    def _counts(self) -> dict[str, int]:
        return {
            "new": self.states["stored"],
            "already_stored": self.states["already there"],
            "rejected": self.states["rejected"],
            "skipped": self.states["skipped"],
            "left": self.states["left"],
            "used_in_another_claim": self.used_elsewhere,
        }

    def _show(self, bytes_done: int, *, watched: bool) -> None:
        now, done = time.monotonic(), sum(self.states.values())
        self._before.append((now, done, bytes_done))
        while now - self._before[0][0] > _WINDOW_SECONDS:
            self._before.popleft()
        since, before, bytes_before = self._before[0]
        rate = (done - before) / (now - since) if now > since else 0.0
        byte_rate = (bytes_done - bytes_before) / (now - since) if now > since else 0.0
        left = (self._byte_count - bytes_done) / byte_rate if byte_rate else None
        if self._as_json:
            progress = self._counts() | {
                "pictures_per_second": round(rate, 1),
                "bytes_done": bytes_done,
                "bytes": self._byte_count,
                "seconds_left": None if left is None else round(left),
            }
            click.echo(json.dumps({"progress": progress}))
            return
        share = bytes_done / self._byte_count if self._byte_count else 1.0
        told = (
            f"{done} pictures, {share:.0%}, {rate:.0f}/s, {_duration(left)} left,"
            f" {self.used_elsewhere} used in another claim, {self.rejected} rejected"
        )
        click.echo(f"\r\033[K{told}" if watched else told, err=True, nl=not watched)


def _duration(seconds: float | None) -> str:
    """Hours, minutes and seconds.

    >>> _duration(3725.4), _duration(59), _duration(None)
    ('1:02:05', '0:00:59', 'unknown time')
    """
    if seconds is None:
        return "unknown time"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
