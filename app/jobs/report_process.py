"""`python -m app.jobs.report_process`: reads an audit and writes it; see `apart`.

The task: JSON {"url", "settings", "out", "format", "filter"}: the database, what tells where pictures are, the
file to write, as what, and of which images. The answer: the numbers `report.COUNTS`, int64[6], and the moment as of
which it is, int64 in microseconds since 1970.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from app.audit import read_audit, write_to
from app.catalog import session
from app.catalog.filters import Filter
from app.jobs.apart import Progress, work
from app.settings import Settings
from app.storage import open_pictures

FAMILIES_AT_ONCE = 20


def report(task: BinaryIO, progress: Progress) -> list[NDArray[np.int64]]:
    """Write the report of a task."""
    asked = json.loads(task.read())
    engine = session.make_patient_engine(asked["url"])
    audit = read_audit(engine, Filter.of_json(asked["filter"]), lambda: progress(0.0))
    total = len(audit.families)

    def tell(done: int) -> None:
        # Whoever listens has uploads to answer.
        if done % FAMILIES_AT_ONCE == 0 or done == total:
            progress(done / total)

    with Path(asked["out"]).open("wb") as file:
        write_to(file, audit, open_pictures(Settings(**asked["settings"])), asked["format"], tell)
    counts = (total, audit.across, audit.members, audit.claims, audit.images, audit.not_compared_yet)
    moment = (audit.as_of - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return [np.array(counts, np.int64), np.array(moment, np.int64)]


if __name__ == "__main__":
    work(report)
