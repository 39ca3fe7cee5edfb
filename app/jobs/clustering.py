"""The clusters job: what images are alike, by one fingerprint; stored in place of the run before."""

import io
import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from app.catalog import clusters as stored
from app.catalog.clusters import Members, NewCluster, NewRun, Question
from app.catalog.copies import Copies, read_copies
from app.catalog.filters import Filter
from app.catalog.fingerprints import Codes, copy_codes
from app.catalog.rows import AnyRow
from app.fingerprints.keypoint_value import KEYPOINTS
from app.jobs.apart import done_apart
from app.jobs.progress import Progress
from app.matching.clusters import Clusters
from app.matching.families import joined
from app.matching.kinds import COPIES
from app.matching.succession import succession
from app.parts import Parts

CLUSTERS = "clusters"


def params_of(question: Question) -> dict[str, Any]:
    """A question as a job's params."""
    return {
        "fingerprint": question.fingerprint,
        "linkage": question.linkage,
        "max_distance": question.max_distance,
        "min_size": question.min_size,
        "filter": question.wanted.json,
    }


def question_of(params: dict[str, Any]) -> Question:
    """What `params_of` gave."""
    return Question(
        params["fingerprint"],
        params["linkage"],
        params["max_distance"],
        params["min_size"],
        Filter.of_json(params["filter"]),
    )


def cluster_images(job: AnyRow, runner: UUID, parts: Parts) -> dict[str, Any]:
    """Run the job; return its result. Raises Cancelled."""
    question = question_of(job.params)
    progress = Progress(parts.engine, job, runner)
    progress.report({"step": "read"}, at_once=True)
    read: Copies | Codes
    if question.fingerprint == KEYPOINTS:
        with parts.engine.connect() as connection:
            read = read_copies(connection, question.wanted, COPIES)
        total = len(read.ids)
        progress.report({"step": "cluster", "images": total, "done": 0}, at_once=True)
        found = joined(total, read.pairs, min_size=question.min_size)
    else:
        with parts.engine.connect() as connection:
            read = copy_codes(connection, question.fingerprint, question.wanted)
        total = len(read.ids)
        found = _clustered(
            read.codes,
            question,
            lambda done: progress.report({"step": "cluster", "images": total, "done": round(done, 4)}),
        )
    with parts.engine.begin() as connection:
        run = _run(connection, question, read, found)
        run_id = stored.replace_run(
            connection, run, lambda done: progress.report({"step": "store", "members": done})
        )
        # The last word before the commit: what was cancelled, or taken over, is not stored.
        progress.confirm(connection, {"step": "store", "members": len(run.images)})
    return {
        "run_id": str(run_id),
        "images": total,
        "clusters": len(found),
        "outside": found.outside,
        "left_out": read.left_out,
        "ended": len(run.ended),
    }


def _clustered(codes: NDArray[np.uint64], question: Question, progress: Callable[[float], None]) -> Clusters:
    """Have the codes clustered by a process of their own. What `progress` raises ends it."""
    asked = {
        "linkage": question.linkage,
        "max_distance": question.max_distance,
        "min_size": question.min_size,
    }
    task = io.BytesIO()
    task.write(json.dumps(asked).encode() + b"\n")
    np.save(task, codes)
    return Clusters(*done_apart("app.jobs.cluster_process", task.getvalue(), progress))


def _run(connection: Connection, question: Question, read: Copies | Codes, found: Clusters) -> NewRun:
    """The run to store, with what it carries on of the run before."""
    inside = found.numbers >= 0
    images, numbers = read.ids[inside], found.numbers[inside]
    before = stored.members_before(connection, question)
    follows = succession(before.images, before.numbers, images, numbers, len(found))
    public = [before.clusters[old] if old >= 0 else uuid4() for old in follows.carried.tolist()]
    came_from: list[list[dict[str, Any]]] = [[] for _ in public]
    went_to: list[list[dict[str, Any]]] = [[] for _ in before.clusters]
    for old, new, shared in follows.shared.tolist():
        came_from[new].append({"cluster_id": str(before.clusters[old]), "images": shared})
        went_to[old].append({"cluster_id": str(public[new]), "images": shared})
    return NewRun(
        question=question,
        as_of_seq=int(read.seqs.max(initial=0)),
        outside=found.outside,
        left_out=read.left_out,
        clusters=[
            NewCluster(cluster_id, int(read.ids[medoid]), origin)
            for cluster_id, medoid, origin in zip(public, found.medoids, came_from, strict=True)
        ],
        images=images,
        numbers=numbers,
        distances=found.distances[inside].astype(np.int64),
        ended=_ended(before, set(follows.carried.tolist()), went_to),
    )


def _ended(before: Members, carried: set[int], went_to: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """The clusters that nothing carries on, and where their images went."""
    return [
        {"cluster_id": str(cluster_id), "went_to": went_to[number]}
        for number, cluster_id in enumerate(before.clusters)
        if number not in carried
    ]
