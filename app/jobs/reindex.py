"""The reindex job: every worker rebuilds its index beside the one that answers and swaps it in."""

import time
from dataclasses import asdict
from typing import Any
from uuid import UUID

from app.catalog import images, workers
from app.catalog.rows import AnyRow
from app.jobs.progress import Progress
from app.jobs.rehash import rehash, screen_all
from app.parts import Parts

REINDEX = "reindex"
POLL_SECONDS = 0.1


class Reindex:
    """One run of the job, by one runner; the same run again after a crash is harmless."""

    def __init__(self, job: AnyRow, runner: UUID, parts: Parts):
        self._params = job.params
        self._progress = Progress(parts.engine, job, runner)
        self._parts = parts
        self._engine = parts.engine

    def run(self) -> dict[str, Any]:
        """Do the work; return the job's result. Raises Cancelled."""
        result: dict[str, Any] = {}
        if self._params.get("rehash"):
            result["rehash"] = asdict(rehash(self._parts, self._progress, images.after, "rehash"))
        if self._params.get("rescreen") and not result.get("rehash", {}).get("rescreened"):
            result["rescreened"] = screen_all(self._parts, self._progress)
        return self._rebuild_everywhere() | result

    def _rebuild_everywhere(self) -> dict[str, Any]:
        with self._engine.begin() as connection:
            generation = workers.next_generation(connection)
        while True:
            with self._engine.connect() as connection:
                alive = workers.alive(connection, self._parts.settings.job_stale_seconds)
            done = [row for row in alive if row.generation >= generation]
            self._progress.report(
                {"step": "rebuild", "workers": len(alive), "workers_done": len(done)},
                at_once=len(done) == len(alive),
            )
            if alive and len(done) == len(alive):
                break
            time.sleep(POLL_SECONDS)
        with self._engine.connect() as connection:
            total = images.count_live(connection)
        found = [row.rebuild for row in done if row.rebuild]
        return {
            "generation": generation,
            "images": total,
            "workers": len(done),
            "difference": {
                name: max((item[name] for item in found), default=0)
                for name in ("missing", "extra", "differing")
            },
        }
