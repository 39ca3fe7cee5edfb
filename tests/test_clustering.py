"""The job that clusters, run without HTTP: rows are made for codes, the child process is the real one."""

import datetime as dt
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from app.catalog import clusters, jobs, session
from app.catalog.clusters import Question
from app.catalog.filters import Filter
from app.catalog.fingerprints import Codes
from app.catalog.models import image
from app.catalog.new_images import insert_images
from app.catalog.occurrences import Owners, nearest_members
from app.jobs import clustering
from app.jobs.clustering import CLUSTERS, params_of
from app.jobs.keeper import run_job
from app.jobs.progress import Progress
from app.parts import Parts
from app.patterns import BITS_OF, cluster_page, cohesion, found_cluster, found_run, occurrences_of
from app.removal import delete_claim, delete_image
from tests.rows import clustered, new_image, pattern_from

PHASH, PATTERN_WORDS = 1, 4
EVERYTHING = Filter()
QUESTION = Question("phash", "medoid", 8, 2, EVERYTHING)
SURFACES = Question("pattern", "medoid", 8, 2, EVERYTHING)
# Centres far from each other: 32 bits and more.
A, B, C = 0x0000000000000000, 0xFFFFFFFF00000000, 0x00000000FFFFFFFF


WITHOUT_FINGERPRINTS = (
    "UPDATE image SET status = 'low_information' WHERE image_id = :low",
    """UPDATE image SET pattern = NULL, whash_db4 = NULL, colorhash = NULL, colour_code = NULL, page = NULL,
        turned = substring(turned, 1, 512) WHERE image_id = ANY(:old)""",
    "DELETE FROM pattern_tiles p USING image i WHERE i.created_seq = p.created_seq AND i.pattern IS NULL",
    """UPDATE pattern_tiles p SET flat = :all_flat FROM image i
        WHERE i.created_seq = p.created_seq AND i.image_id = :flat""",
)


def add(engine: Engine, *codes: int, labels: dict[str, Any] | None = None) -> list[UUID]:
    """Store an image for each code (`phash`), each of a claim of its own; their ids."""
    new = []
    for code in codes:
        turned = np.zeros((8, 9), np.uint64)
        turned[:, PHASH] = code
        new.append(replace(new_image(turned, claim_id=f"KD-{uuid4().hex[:12]}"), labels=labels or {}))
    with session.autocommit(engine) as connection:
        insert_images(connection, new)
    return [row.image_id for row in new]


def claimed(parts: Parts, question: Question, runner: UUID) -> Any:
    """Ask for a job and take it."""
    with parts.engine.begin() as connection:
        jobs.create_job(connection, kind=CLUSTERS, params=params_of(question), requested_by="tests")
    with parts.engine.begin() as connection:
        job = jobs.claim_job(connection, runner, 15)
    assert job is not None
    return job


def ended(parts: Parts, job: Any) -> Any:
    with parts.engine.connect() as connection:
        return jobs.find_job(connection, job.job_id)


def run(parts: Parts, question: Question = QUESTION) -> dict[str, Any]:
    """Run a job to its end; its result."""
    runner = uuid4()
    job = claimed(parts, question, runner)
    run_job(job, runner, parts)
    job = ended(parts, job)
    assert job.state == "succeeded", job.error
    assert job.result is not None
    return dict(job.result)


def remove(parts: Parts, *image_ids: UUID) -> None:
    for image_id in image_ids:
        delete_image(parts.engine, parts.pictures, image_id, actor="tests")


def stored(engine: Engine, run_id: str | None = None) -> dict[str, set[UUID]]:
    """By cluster id the images that are shown of it, of the newest run or another."""
    with engine.connect() as connection:
        row = found_run(connection, None if run_id is None else UUID(run_id))
        page = cluster_page(connection, row, EVERYTHING, order="largest", begin=0, limit=1000)
        return {
            str(each.cluster_id): {
                member.image_id
                for member in nearest_members(connection, Owners.cluster(each.id), EVERYTHING, limit=10_000)
            }
            for each, _ in page.clusters
        }


def partition(engine: Engine) -> set[frozenset[UUID]]:
    return {frozenset(members) for members in stored(engine).values()}


def ids_by_image(engine: Engine) -> dict[UUID, str]:
    return {image: cluster_id for cluster_id, images in stored(engine).items() for image in images}


def rows_of(engine: Engine) -> list[Any]:
    """All that is stored of clusters."""
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT * FROM {name} ORDER BY 1, 2")).all()
            for name in ("cluster_run", "cluster", "cluster_member")
        ]


def came_from(engine: Engine) -> dict[str, list[tuple[str, int]]]:
    with engine.connect() as connection:
        return {
            str(row.cluster_id): [(each["cluster_id"], each["images"]) for each in row.came_from]
            for row in connection.execute(text("SELECT * FROM cluster"))
        }


def ended_clusters(engine: Engine, run_id: str) -> dict[str, list[tuple[str, int]]]:
    with engine.connect() as connection:
        return {
            each["cluster_id"]: [(to["cluster_id"], to["images"]) for to in each["went_to"]]
            for each in found_run(connection, UUID(run_id)).ended
        }


def children() -> set[int]:
    """Processes of this one that cluster."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                status = (folder / "stat").read_text().rpartition(")")[2].split()
                words = (folder / "cmdline").read_bytes().split(b"\0")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(status[1]) == os.getpid() and b"app.jobs.cluster_process" in words:
                found.add(int(folder.name))
    return found


def until(condition: Any, seconds: float = 20.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


@pytest.fixture
def go_slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """Once called: codes that take a minute to cluster, in place of those stored."""

    def go() -> None:
        count = 500_000
        codes = np.random.default_rng(1).integers(0, 2**64, (count, PATTERN_WORDS), dtype=np.uint64)
        numbers = np.arange(1, count + 1)
        monkeypatch.setattr(clustering, "copy_codes", lambda *_: Codes(numbers, numbers, codes, {}, 0))
        monkeypatch.setattr("app.jobs.progress.REPORT_SECONDS", 0.05)

    yield go
    for pid in children():
        os.kill(pid, signal.SIGKILL)


class Started:
    """A job that is running in a thread of its own, with its child process."""

    def __init__(self, parts: Parts):
        self.runner = uuid4()
        self.parts = parts
        self.job = claimed(parts, SURFACES, self.runner)
        self.thread = threading.Thread(target=run_job, args=(self.job, self.runner, parts), daemon=True)
        self.thread.start()
        (self.child,) = until(children)
        until(lambda: ended(parts, self.job).progress.get("done"))

    def end(self) -> Any:
        self.thread.join(10)
        assert not self.thread.is_alive()
        return ended(self.parts, self.job)


@pytest.mark.parametrize("fingerprint", BITS_OF)
def test_members_are_within_the_distance_of_the_medoid(
    parts: Parts, engine: Engine, fingerprint: str
) -> None:
    turned = clustered(120, np.random.default_rng(1))
    with session.autocommit(engine) as connection:
        insert_images(connection, [new_image(each, claim_id=f"KD-{n}") for n, each in enumerate(turned)])
    radius = {"pattern": 60, "colorhash": 30}.get(fingerprint, 20)
    result = run(parts, Question(fingerprint, "medoid", radius, 3, EVERYTHING))
    with engine.connect() as connection:
        source = "p.words" if fingerprint == "pattern" else "i.colour_code"
        if fingerprint not in ("pattern", "colorhash"):
            source = f"int8send(i.{fingerprint})"
        codes = {
            row.id: int.from_bytes(row.code)
            for row in connection.execute(
                text(f"SELECT i.id, {source} AS code FROM image i JOIN pattern_tiles p USING (created_seq)")
            )
        }
        members = connection.execute(
            text(
                "SELECT c.id, c.medoid_id, m.image_id, m.distance FROM cluster c JOIN cluster_member m"
                " ON m.cluster_id = c.id"
            )
        ).all()
    assert result["clusters"] == len({row.id for row in members}) > 0
    assert len({row.image_id for row in members}) == len(members) == 120 - result["outside"]
    for row in members:
        bits = (codes[row.medoid_id] ^ codes[row.image_id]).bit_count()
        assert row.distance == bits <= radius


@pytest.mark.parametrize("linkage", ["medoid", "single"])
def test_the_same_codes_uploaded_in_another_order_are_clustered_the_same(
    parts: Parts, engine: Engine, linkage: str
) -> None:
    rng = np.random.default_rng(3)
    # Many codes twice and many as near to one medoid as to another: ties of every kind.
    codes = [
        int(centre) ^ (1 << int(bit))
        for centre in (A, 0b111, B, B ^ 0b11, C)
        for bit in rng.integers(0, 6, 12)
    ]
    question = replace(QUESTION, max_distance=3, min_size=3, linkage=linkage)
    answers = []
    for _ in range(3):
        order = rng.permutation(len(codes)).tolist()
        images = add(engine, *(codes[place] for place in order))
        code_of = dict(zip(images, (codes[place] for place in order), strict=True))
        run(parts, question)
        with engine.connect() as connection:
            medoids = [
                code_of[row.image_id]
                for row in connection.execute(
                    text("SELECT i.image_id FROM cluster c JOIN image i ON i.id = c.medoid_id ORDER BY c.id")
                )
            ]
        found = [sorted(code_of[image] for image in members) for members in stored(engine).values()]
        answers.append((medoids, found))
        remove(parts, *images)
    assert answers[0][0]
    assert answers[0] == answers[1] == answers[2]


def test_of_equal_codes_the_first_uploaded_is_the_medoid(parts: Parts, engine: Engine) -> None:
    first, *_ = add(engine, A, A, A)
    run(parts)
    with engine.connect() as connection:
        (cluster_id,) = stored(engine)
        assert found_cluster(connection, UUID(cluster_id)).medoid == first


def test_clusters_keep_their_ids_in_the_next_run(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, A, B, B, B)
    first = run(parts)
    before = stored(engine)
    assert first["clusters"] == 2
    assert all(origin == [] for origin in came_from(engine).values())
    more = add(engine, C, C, A)
    second = run(parts)
    after = stored(engine)
    assert second["run_id"] != first["run_id"]
    assert second["ended"] == 0
    assert before.keys() < after.keys()
    kept = ids_by_image(engine)
    assert kept[more[2]] == kept[images[0]]
    assert len({kept[image] for image in (images[0], images[3], more[0])}) == 3
    assert came_from(engine) == {
        **{cluster_id: [(cluster_id, 3)] for cluster_id in before},
        kept[more[0]]: [],
    }


def test_a_split_is_recorded(parts: Parts, engine: Engine) -> None:
    middle, left, right = 0b1111 << 4, 0b11111111, 0
    images = add(engine, middle, middle, middle, middle, left, left, right, right, right)
    question = replace(QUESTION, max_distance=4, min_size=2)
    run(parts, question)
    (old,) = stored(engine)
    remove(parts, *images[:4])
    result = run(parts, question)
    kept = ids_by_image(engine)
    assert partition(engine) == {frozenset(images[4:6]), frozenset(images[6:])}
    assert kept[images[6]] == old
    assert came_from(engine) == {old: [(old, 3)], kept[images[4]]: [(old, 2)]}
    assert result["ended"] == 0
    assert ended_clusters(engine, result["run_id"]) == {}


def test_a_merger_is_recorded_on_both_sides(parts: Parts, engine: Engine) -> None:
    middle, left, right = 0b1111 << 4, 0b11111111, 0
    images = add(engine, left, left, right, right, right)
    question = replace(QUESTION, max_distance=4, min_size=2)
    run(parts, question)
    before = ids_by_image(engine)
    add(engine, *[middle] * 4)
    result = run(parts, question)
    small, large = before[images[0]], before[images[2]]
    (only,) = stored(engine)
    assert only == large
    assert sorted(came_from(engine)[large]) == sorted([(small, 2), (large, 3)])
    assert result["ended"] == 1
    assert ended_clusters(engine, result["run_id"]) == {small: [(large, 2)]}


def test_a_cluster_that_dissolves_is_told_to_have_ended_nowhere(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, A, B, B)
    run(parts, replace(QUESTION, min_size=2))
    old = ids_by_image(engine)
    result = run(parts, replace(QUESTION, min_size=3))
    assert ended_clusters(engine, result["run_id"]) == {old[images[3]]: []}
    assert set(stored(engine)) == {old[images[0]]}
    assert result["outside"] == 2


def test_a_cluster_whose_images_were_all_deleted_is_told_to_have_ended(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, A, B, B)
    run(parts)
    old = ids_by_image(engine)
    remove(parts, *images[3:])
    result = run(parts)
    assert ended_clusters(engine, result["run_id"]) == {old[images[3]]: []}


def stored_before(parts: Parts, engine: Engine, go_slow: Callable[[], None]) -> list[Any]:
    """What a run has stored, before those that take long."""
    add(engine, A, A, A)
    run(parts, SURFACES)
    before = rows_of(engine)
    assert all(before)
    go_slow()
    return before


def test_cancelling_ends_the_child_process_and_stores_nothing(
    parts: Parts, engine: Engine, go_slow: Callable[[], None]
) -> None:
    before = stored_before(parts, engine, go_slow)
    started = Started(parts)
    with engine.begin() as connection:
        jobs.request_cancel(connection, started.job.job_id)
    job = started.end()
    assert (job.state, job.result) == ("cancelled", None)
    assert not Path(f"/proc/{started.child}").exists()
    assert rows_of(engine) == before


@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_child_process_fails_the_job_and_leaves_the_run_before(
    parts: Parts, engine: Engine, go_slow: Callable[[], None], sent: signal.Signals
) -> None:
    before = stored_before(parts, engine, go_slow)
    started = Started(parts)
    os.kill(started.child, sent)
    job = started.end()
    assert job.state == "failed"
    assert job.error == f"RuntimeError: app.jobs.cluster_process ended with status {-sent}"
    assert rows_of(engine) == before


def test_a_child_process_that_reads_nothing_fails_the_job(
    parts: Parts, engine: Engine, go_slow: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stored_before(parts, engine, go_slow)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    runner = uuid4()
    job = claimed(parts, SURFACES, runner)
    run_job(job, runner, parts)
    job = ended(parts, job)
    assert job.state == "failed"
    assert job.error == "RuntimeError: app.jobs.cluster_process ended with status 1"
    assert rows_of(engine) == before


def test_a_runner_that_lost_the_job_ends_its_child_process_and_stores_nothing(
    parts: Parts, engine: Engine, go_slow: Callable[[], None]
) -> None:
    before = stored_before(parts, engine, go_slow)
    started = Started(parts)
    other = uuid4()
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET runner = :other WHERE state = 'running'"), {"other": other})
    job = started.end()
    assert (job.state, job.runner) == ("running", other)
    assert not Path(f"/proc/{started.child}").exists()
    assert rows_of(engine) == before


def test_a_runner_that_loses_the_job_while_it_stores_leaves_the_run_before(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = add(engine, A, A, A)
    run(parts)
    before = rows_of(engine)
    add(engine, A, B, B)
    replace_run = clusters.replace_run

    def slow(*args: Any) -> UUID:
        run_id = replace_run(*args)
        with engine.begin() as connection:
            connection.execute(text("UPDATE job SET runner = gen_random_uuid() WHERE state = 'running'"))
        return run_id

    monkeypatch.setattr(clusters, "replace_run", slow)
    runner = uuid4()
    job = claimed(parts, QUESTION, runner)
    run_job(job, runner, parts)
    job = ended(parts, job)
    assert (job.state, job.result, job.error) == ("running", None, None)
    assert rows_of(engine) == before
    assert partition(engine) == {frozenset(images)}


@pytest.mark.parametrize("before", [True, False])
def test_two_runners_that_store_at_once_leave_one_run_of_the_question(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """One hangs right before its commit, and another would take the job over."""
    add(engine, A, A, A)
    if before:
        run(parts)
    confirm = Progress.confirm
    hanging, go_on = threading.Event(), threading.Event()
    slow_runner, next_runner = uuid4(), uuid4()

    def hang(self: Progress, connection: Connection, progress: dict[str, Any]) -> None:
        confirm(self, connection, progress)
        if self._runner == slow_runner:
            hanging.set()
            go_on.wait(10)

    monkeypatch.setattr(Progress, "confirm", hang)
    job = claimed(parts, QUESTION, slow_runner)
    threads = [threading.Thread(target=run_job, args=(job, slow_runner, parts), daemon=True)]
    threads[0].start()
    assert hanging.wait(20)
    with engine.begin() as connection:
        # What a worker does that finds the runner silent; a row that is locked is passed over.
        again = jobs.claim_job(connection, next_runner, -1)
    if again is not None:
        threads.append(threading.Thread(target=run_job, args=(again, next_runner, parts), daemon=True))
        threads[1].start()
        time.sleep(1.5)
    go_on.set()
    for thread in threads:
        thread.join(20)
    found = ended(parts, job)
    assert (found.state, found.error) == ("succeeded", None)
    with engine.connect() as connection:
        assert len(clusters.all_runs(connection)) == 1


def test_only_images_of_the_filter_take_part(parts: Parts, engine: Engine) -> None:
    early = add(engine, A, A, labels={"plant": "B", "claimed_at": "2026-01-05"})
    late = add(engine, A, A, labels={"plant": "B", "claimed_at": "2026-01-06"})
    other = add(engine, A, A, labels={"plant": "C", "claimed_at": "2026-01-05"})
    day = dt.date(2026, 1, 5)
    for wanted, expected in (
        (Filter({"plant": "B"}), [*early, *late]),
        (Filter({}, None, day), [*early, *other]),
        (Filter({}, day + dt.timedelta(days=1), None), late),
        (Filter({"plant": "B"}, day, day), early),
    ):
        result = run(parts, replace(QUESTION, wanted=wanted))
        assert result["images"] == len(expected)
        assert partition(engine) == {frozenset(expected)}
    result = run(parts, replace(QUESTION, wanted=Filter({"plant": "nowhere"})))
    assert (result["images"], result["clusters"], result["outside"]) == (0, 0, 0)


def test_clusters_have_the_least_size_at_least(parts: Parts, engine: Engine) -> None:
    four, three = add(engine, A, A, A, A), add(engine, B, B, B)
    for size, expected in ((2, [four, three]), (3, [four, three]), (4, [four]), (5, [])):
        result = run(parts, replace(QUESTION, min_size=size))
        assert partition(engine) == {frozenset(images) for images in expected}
        assert result["outside"] == 7 - sum(map(len, expected))


def test_single_linkage_chains(parts: Parts, engine: Engine) -> None:
    chain = add(engine, *((1 << step) - 1 for step in range(0, 40, 4)))
    add(engine, C ^ 0xFFFF)
    run(parts, replace(QUESTION, linkage="single", max_distance=4))
    assert partition(engine) == {frozenset(chain)}
    with engine.connect() as connection:
        members = connection.execute(text("SELECT max(distance) FROM cluster_member")).scalar_one()
    assert members > 4


def test_images_that_have_no_such_fingerprint_are_left_out_and_counted(parts: Parts, engine: Engine) -> None:
    labels = {"plant": "B"}
    images = add(engine, *[A] * 7, labels=labels)
    add(engine, A)
    tiles = len(pattern_from(np.zeros(9, np.uint64)).tiles)
    values = {
        "low": images[0],
        "old": images[1:3],
        "flat": images[3],
        "all_flat": np.packbits(np.ones(tiles, np.uint8)).tobytes(),
    }
    with engine.begin() as connection:
        for statement in WITHOUT_FINGERPRINTS:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            connection.execute(text(statement), used)
    wanted = Filter(labels)
    for fingerprint, lacking, flat in (
        ("phash", 0, 1),
        ("whash_db4", 2, 1),
        ("colorhash", 2, 1),
        ("pattern", 2, 1),
    ):
        result = run(parts, Question(fingerprint, "medoid", 4, 2, wanted))
        assert result["left_out"] == {"not_computed_yet": lacking, "low_information": flat}
        assert result["images"] == 7 - lacking - flat
        with engine.connect() as connection:
            assert found_run(connection, UUID(result["run_id"])).left_out == result["left_out"]
    assert partition(engine) == {frozenset([images[0], *images[4:]])}


def test_deleted_images_disappear_from_all_that_is_told_of_a_cluster(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, A, 0b1, 0b11, labels={"plant": "B"})
    run(parts)
    remove(parts, images[3], images[4])
    (cluster_id,) = stored(engine)
    with engine.connect() as connection:
        row = found_cluster(connection, UUID(cluster_id))
        each = occurrences_of(connection, Owners.cluster(row.id), EVERYTHING)[row.id]
    assert row.medoid == images[0]
    assert stored(engine) == {cluster_id: set(images[:3])}
    assert (each.images, each.claims, each.recent, each.mean_distance) == (3, 3, 3, 0.0)
    assert [(count.value, count.images) for count in each.labels["plant"]] == [("B", 3)]


def test_a_cluster_whose_medoid_was_deleted_has_none(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, A)
    run(parts)
    remove(parts, images[0])
    ((cluster_id, members),) = stored(engine).items()
    with engine.connect() as connection:
        assert found_cluster(connection, UUID(cluster_id)).medoid is None
    assert members == set(images[1:])


def test_a_cluster_whose_images_were_all_deleted_is_shown_no_more(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A)
    add(engine, B, B)
    run(parts)
    remove(parts, *images)
    with engine.connect() as connection:
        run_row = found_run(connection, None)
        page = cluster_page(connection, run_row, EVERYTHING, order="largest", begin=0, limit=10)
    assert (page.total, len(page.clusters)) == (1, 1)


@pytest.mark.parametrize("which", [[0], [2], [0, 1, 2]])
def test_images_deleted_while_the_job_runs_are_in_no_answer(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch, which: list[int]
) -> None:
    images = add(engine, A, A, A)
    compute = clustering._clustered

    def slow(*args: Any) -> Any:
        found = compute(*args)
        remove(parts, *(images[place] for place in which))
        return found

    monkeypatch.setattr(clustering, "_clustered", slow)
    run(parts)
    left = {image for place, image in enumerate(images) if place not in which}
    assert partition(engine) == ({frozenset(left)} if left else set())
    for cluster_id in stored(engine):
        with engine.connect() as connection:
            row = found_cluster(connection, UUID(cluster_id))
            assert row.medoid == (None if 0 in which else images[0])
            each = occurrences_of(connection, Owners.cluster(row.id), EVERYTHING)[row.id]
            assert each.images == len(left)
    monkeypatch.undo()
    result = run(parts)
    assert result["images"] == len(left)


def test_images_of_a_deleted_claim_are_in_no_cluster(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, A, B, B)
    run(parts)
    with engine.connect() as connection:
        claim = connection.execute(
            text("SELECT claim_id FROM image WHERE image_id = :id"), {"id": images[2]}
        ).scalar_one()
    delete_claim(engine, parts.pictures, claim, actor="tests")
    assert partition(engine) == {frozenset(images[:2]), frozenset(images[3:])}


def test_an_image_can_be_deleted_while_its_cluster_is_stored(
    parts: Parts, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run before is taken away in a transaction that takes seconds for many members."""
    images = add(engine, A, A, A, A)
    run(parts)
    replace_run = clusters.replace_run

    def slow(*args: Any) -> UUID:
        run_id = replace_run(*args)
        remove(parts, images[3])
        return run_id

    monkeypatch.setattr(clusters, "replace_run", slow)
    run(parts)
    assert partition(engine) == {frozenset(images[:3])}


@pytest.mark.parametrize(
    "other",
    [
        replace(QUESTION, fingerprint="dhash"),
        replace(QUESTION, linkage="single"),
        replace(QUESTION, max_distance=7),
        replace(QUESTION, wanted=Filter({"plant": "B"})),
        replace(QUESTION, wanted=Filter({}, dt.date(2020, 1, 1))),
    ],
)
def test_another_question_does_not_replace_the_run(parts: Parts, engine: Engine, other: Question) -> None:
    add(engine, A, A, A, labels={"plant": "B"})
    first = run(parts)["run_id"]
    before = stored(engine, first)
    second = run(parts, other)["run_id"]
    assert stored(engine, first) == before
    assert not before.keys() & stored(engine, second).keys()
    with engine.connect() as connection:
        assert [str(row.run_id) for row in clusters.all_runs(connection)] == [second, first]
        assert str(found_run(connection, None).run_id) == second
    third = run(parts)["run_id"]
    with engine.connect() as connection:
        assert {str(row.run_id) for row in clusters.all_runs(connection)} == {second, third}
    assert stored(engine, third) == before


def test_the_same_question_in_other_words_replaces_the_run(parts: Parts, engine: Engine) -> None:
    add(engine, A, A, A, labels={"plant": "B", "count": 1})
    run(parts, replace(QUESTION, wanted=Filter({"plant": "B", "count": 1})))
    run(parts, replace(QUESTION, wanted=Filter({"count": 1.0, "plant": "B"}), min_size=3))
    with engine.connect() as connection:
        assert len(clusters.all_runs(connection)) == 1


def test_a_run_tells_up_to_which_image_it_goes(parts: Parts, engine: Engine) -> None:
    add(engine, A, A)
    with engine.connect() as connection:
        newest = connection.execute(text("SELECT max(created_seq) FROM image")).scalar_one()
    run_id = UUID(run(parts)["run_id"])
    add(engine, A)
    with engine.connect() as connection:
        assert found_run(connection, run_id).as_of_seq == newest


@pytest.mark.parametrize("linkage", ["medoid", "single"])
@pytest.mark.parametrize(
    ("codes", "clusters_found", "outside"),
    [([], 0, 0), ([A], 0, 1), ([A, C], 0, 2), ([A] * 5, 1, 0), ([A, A, B, B, C], 2, 1)],
)
def test_edges(
    parts: Parts, engine: Engine, codes: Sequence[int], clusters_found: int, outside: int, linkage: str
) -> None:
    add(engine, *codes)
    result = run(parts, replace(QUESTION, max_distance=0, linkage=linkage))
    assert (result["images"], result["clusters"], result["outside"]) == (len(codes), clusters_found, outside)


def test_within_the_largest_distance_all_are_one_cluster(parts: Parts, engine: Engine) -> None:
    images = add(engine, A, 2**64 - 1, B, C)
    run(parts, replace(QUESTION, max_distance=64))
    assert partition(engine) == {frozenset(images)}


def test_the_run_after_the_first_is_read_as_fast(parts: Parts, engine: Engine) -> None:
    """What the planner knows of clusters is of the run before: that of the newest there are none."""
    count = 9000
    (first,) = add(engine, A)
    own = {"id", "image_id", "created_seq", "change_seq", "phash", "sha256", "claim_id"}
    others = ", ".join(
        column.name for column in image.columns if column.name not in own and not column.computed
    )
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO image (image_id, phash, sha256, claim_id, {others}) SELECT gen_random_uuid(),"
                " hashtextextended((n / 3)::text, 0), sha256(n::text::bytea), 'KD-' || n,"
                f" {others} FROM image, generate_series(3, :count + 2) AS n WHERE image_id = :first"
            ),
            {"count": count, "first": first},
        )
    question = replace(QUESTION, max_distance=0)
    run(parts, question)
    with engine.begin() as connection:
        connection.execute(text("ANALYZE"))
    run(parts, question)
    with engine.begin() as connection:
        # A hundred times what it takes, and half of what each image with each takes.
        connection.execute(text("SET LOCAL statement_timeout = '2s'"))
        row = found_run(connection, None)
        page = cluster_page(connection, row, EVERYTHING, order="growing", begin=0, limit=5)
    assert page.total == count // 3


def test_cohesion_is_between_0_and_1(parts: Parts, engine: Engine) -> None:
    add(engine, A, 2**64 - 1, 2**64 - 2)
    run(parts, replace(QUESTION, max_distance=64))
    with engine.connect() as connection:
        run_row = found_run(connection, None)
        page = cluster_page(connection, run_row, EVERYTHING, order="largest", begin=0, limit=10)
        ((_, each),) = page.clusters
    assert 0 <= cohesion(run_row, each.mean_distance) <= 1
    assert cohesion(run_row, 64.0) == 0
    assert cohesion(run_row, 0.0) == 1
