"""The folder of reports: a file for each job that made one, for as long as it is kept."""

import contextlib
import time
from pathlib import Path
from uuid import UUID


class Reports:
    """Local folder `<root>/<job id>.<format>`; what is not finished yet has a name of its own."""

    def __init__(self, root: Path):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def finished(self, job_id: UUID, form: str) -> Path:
        """Path of a job's report."""
        return self.root / f"{job_id}.{form}"

    def unfinished(self, job_id: UUID, runner: UUID) -> Path:
        """Path of what one runner of the job is writing."""
        return self.root / f"{job_id}.{runner}.new"

    def jobs(self) -> set[UUID]:
        """The jobs whose finished reports are here."""
        found = set()
        for path in self.root.iterdir():
            with contextlib.suppress(ValueError):  # some other file
                if path.suffix != ".new":
                    found.add(UUID(path.stem))
        return found

    def erase(self, job_id: UUID) -> None:
        """Erase a job's finished report."""
        for path in list(self.root.glob(f"{job_id}.*")):
            if path.suffix != ".new":
                path.unlink(missing_ok=True)

    def erase_old(self, older_than_seconds: float) -> int:
        """Erase what was last written that long ago; return how many files."""
        newest = time.time() - older_than_seconds
        erased = 0
        for path in list(self.root.iterdir()):
            # Another worker's sweep may be faster.
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < newest:
                    path.unlink()
                    erased += 1
        return erased
