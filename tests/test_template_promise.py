"""No image slips past a template: two workers upload, others make, change and delete templates, a job scans.

What every call told is written down with the times of its begin and its end; afterwards this, and the table of
matches, are compared with the plain comparison of every image with every template.
"""

import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from app import screening
from app.catalog import jobs, stamps
from app.catalog.keypoints import stored_keypoints
from app.catalog.pattern_tiles import pattern_of
from app.catalog.templates import Templates
from app.collection import TableIndex
from app.errors import NotFound, Unavailable
from app.fingerprints.keypoint_value import Keypoints
from app.imaging.normalise import normalised_size
from app.imaging.pool import DecodePool
from app.ingest import Intake, Upload
from app.jobs.history import ask_for_scan, scan_history
from app.matching.regions import Box
from app.matching.sightings import Detail, sighting
from app.matching.templates import code_from_bytes
from app.parts import Parts, make_parts
from app.removal import delete_image
from app.settings import Settings
from app.templates import NewTemplate, change_template, delete_template, make_template
from tests.matching.test_places import plain_nearest
from tests.pictures import drawn, encoded, surface

UPLOADERS = 4
UPLOADS = 16  # by each of them
CHANGERS = 2
FIRST_TEMPLATES = 4  # each of them makes before the uploads begin, which may be over soon
SIZE = (200, 160)
SURFACES = 3
SPOT = Box(60, 40, 100, 75)

# Between the drawing of a stamp and the commit: a window that is there anyway, made easier to hit.
WIDEN_THE_WINDOW = """
CREATE FUNCTION pause() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_sleep(0.02 * random() ^ 2);
    RETURN NEW;
END $$;
CREATE TRIGGER image_stamp_then_pause BEFORE INSERT ON image FOR EACH ROW EXECUTE FUNCTION pause();
CREATE TRIGGER template_stamp_then_pause BEFORE INSERT OR UPDATE OF max_distance, enabled, deleted_at
    ON template FOR EACH ROW EXECUTE FUNCTION pause();
"""


@dataclass(frozen=True)
class Told:
    """What one upload told: which templates its image shows, each with the distance."""

    begun: float
    ended: float
    image_id: UUID
    created: bool
    templates: dict[UUID, int]


@dataclass(frozen=True)
class Change:
    """What one call made of a template, whose radius is None while it is off or deleted."""

    begun: float
    ended: float
    max_distance: int | None


@dataclass
class Log:
    """All that was acknowledged. Lists are appended to by many threads."""

    told: list[Told] = field(default_factory=list)
    changes: dict[UUID, list[Change]] = field(default_factory=dict)
    codes: dict[UUID, tuple[str, np.ndarray | Detail]] = field(default_factory=dict)
    refused: list[Unavailable] = field(default_factory=list)
    broken_off: list[Exception] = field(default_factory=list)
    """By which scans ended."""


def picture(kind: int, rng: random.Random) -> bytes:
    """A copy of one of a few surfaces, with a spot that has keypoints; no two have the same bytes."""
    shown = surface(kind, SIZE, period=6 + 5 * kind)
    shown.paste(drawn(kind, (SPOT.width, SPOT.height)).convert("L"), (SPOT.x, SPOT.y))
    return encoded(shown, quality=rng.randint(60, 95), comment=str(rng.random()))


def upload_some(parts: Parts, log: Log, seed: int, ready: threading.Barrier) -> None:
    ready.wait()
    rng = random.Random(seed)
    sent: list[tuple[str, bytes]] = []
    mine: list[UUID] = []
    for number in range(UPLOADS):
        new = f"KD-{seed}-{number}", picture(rng.randrange(SURFACES), rng)
        claim, data = rng.choice(sent) if sent and rng.random() < 0.1 else new
        sent.append((claim, data))
        for _ in range(10):
            begun = time.monotonic()
            try:
                outcome = parts.intake.take(claim, [Upload("a.jpg", data)], client_id=None, labels={})
            except Unavailable as error:  # to be sent again, with the same bytes
                log.refused.append(error)
                continue
            ended = time.monotonic()
            (answer,) = outcome.answers
            found = {row.template_id: row.distance for row in answer.templates.rows}
            log.told.append(Told(begun, ended, answer.row.image_id, answer.created, found))
            if answer.created:
                mine.append(answer.row.image_id)
            break
        else:
            raise AssertionError(f"no answer in ten attempts: {log.refused[-1]}")
        if rng.random() < 0.1 and mine:
            with suppress(NotFound):
                delete_image(parts.engine, parts.pictures, mine.pop(), actor="test")


def change_some(parts: Parts, log: Log, seed: int, ready: threading.Barrier, stop: threading.Event) -> None:
    rng = random.Random(seed)
    mine: list[UUID] = []
    for number in itertools.count():
        if number == FIRST_TEMPLATES:
            ready.wait()
        if stop.is_set():
            return
        what = 0.0 if number < FIRST_TEMPLATES else rng.random()
        begun = time.monotonic()
        if what < 0.4 or not mine:
            fingerprint = rng.choice(("pattern", "pattern", "phash", "colorhash", "keypoints", "keypoints"))
            # Colours say little of grey pictures: all have the same.
            radii = {"pattern": rng.choice((60, 120, 200)), "phash": 20, "colorhash": 5, "keypoints": 12}
            radius = radii[fingerprint]
            region = SPOT if fingerprint == "keypoints" else None
            new = NewTemplate("test", fingerprint, radius, rng.random() < 0.9, region)
            row = make_template(
                parts.engine,
                parts.intake,
                parts.template_pictures,
                new,
                Upload("t.jpg", picture(rng.randrange(SURFACES), rng)),
                actor="test",
            )
            template_id, after = row.template_id, radius if new.enabled else None
            log.codes[template_id] = fingerprint, code_of(row)
            log.changes[template_id] = []
            mine.append(template_id)
        elif what < 0.5:
            template_id, after = mine.pop(rng.randrange(len(mine))), None
            delete_template(parts.engine, parts.template_pictures, template_id, actor="test")
        else:
            template_id = rng.choice(mine)
            radii = (2, 4, 12) if log.codes[template_id][0] == "keypoints" else (4, 30, 60)
            values = {"max_distance": rng.choice(radii)} if what < 0.8 else {"enabled": rng.random() < 0.7}
            row = change_template(parts.engine, template_id, values, actor="test")
            after = row.max_distance if row.enabled else None
        log.changes[template_id].append(Change(begun, time.monotonic(), after))
        stop.wait(rng.random() * 0.1)


def code_of(row: Any) -> np.ndarray | Detail:
    """What is stored of a template."""
    if row.fingerprint == "keypoints":
        return Detail(Keypoints.from_whole_bytes(row.code), (SPOT.width, SPOT.height))
    return code_from_bytes(row.code, row.fingerprint)


def scan(parts: Parts) -> None:
    """Run the job to its end, if there is anything to compare."""
    runner = uuid4()
    with parts.engine.begin() as connection:
        ask_for_scan(connection, "test")
        job = jobs.claim_job(connection, runner, 3600)
    if job is not None:
        result = scan_history(job, runner, parts)
        with parts.engine.begin() as connection:
            jobs.finish_job(connection, job_row_id=job.id, runner=runner, state="succeeded", result=result)


def end_jobs(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET state = 'failed' WHERE state = 'running'"))


def run(workers: list[Parts]) -> Log:
    """Everything at once; then the scan, so that all is compared."""
    log, stop = Log(), threading.Event()
    ready = threading.Barrier(UPLOADERS + CHANGERS, timeout=60)
    with workers[0].engine.begin() as connection:
        connection.execute(text(WIDEN_THE_WINDOW))

    def keep_scanning() -> None:
        while not stop.is_set():
            try:
                scan(workers[1])
            except Exception as error:  # noqa: BLE001 - as the keeper has it: told below, and the job run again
                log.broken_off.append(error)
                end_jobs(workers[1].engine)
            stop.wait(0.02)

    with ThreadPoolExecutor(1 + CHANGERS + UPLOADERS) as threads:
        others = [threads.submit(keep_scanning)] + [
            threads.submit(change_some, workers[number % 2], log, 100 + number, ready, stop)
            for number in range(CHANGERS)
        ]
        uploading = [
            threads.submit(upload_some, workers[number % 2], log, number, ready)
            for number in range(UPLOADERS)
        ]
        try:
            for each in uploading:
                each.result()
        finally:
            stop.set()
        for each in others:
            each.result()
    scan(workers[0])
    return log


class Plain:
    """The plain comparison of every image with every template, by the codes that are stored."""

    def __init__(self, connection: Connection, log: Log):
        self._log = log
        self._found: dict[tuple[UUID, UUID], int] = {}
        self.images = {}
        for row in connection.execute(text("SELECT * FROM image WHERE deleted_at IS NULL")):
            pattern = pattern_of(connection, row.created_seq)
            assert pattern is not None
            stored = stored_keypoints(connection, row.created_seq)
            assert stored is not None
            self.images[row.image_id] = row, pattern, Keypoints.from_bytes(*stored)

    def distance(self, image_id: UUID, template_id: UUID) -> int:
        key = image_id, template_id
        if key not in self._found:
            self._found[key] = self._distance(*key)
        return self._found[key]

    def _distance(self, image_id: UUID, template_id: UUID) -> int:
        (row, pattern, points), (fingerprint, code) = self.images[image_id], self._log.codes[template_id]
        if isinstance(code, Detail):
            seen = sighting(code, points, normalised_size(row.width, row.height))
            return 10**6 if seen is None else seen.bits
        if fingerprint == "pattern":
            return int(plain_nearest(pattern, normalised_size(row.width, row.height), code)[0])
        if row.status != "fingerprinted":
            return 10**6
        if fingerprint == "phash":
            return min((int(word) ^ row.phash % 2**64).bit_count() for word in code[:, 0])
        return (int.from_bytes(code.astype(">u8").tobytes()) ^ int.from_bytes(row.colour_code)).bit_count()


def wrong_answers(log: Log, plain: Plain) -> list[str]:
    """Uploads that told, or did not tell, of a template that was left alone meanwhile, and should not have."""
    wrong = []
    for told in log.told:
        # A replay of an image that was screened before tells what is stored; of a deleted one nothing is known.
        if told.image_id not in plain.images:
            continue
        for template_id, changes in log.changes.items():
            before = [each for each in changes if each.ended < told.begun]
            if not before or any(each.begun < told.ended and each.ended >= told.begun for each in changes):
                continue
            radius, distance = before[-1].max_distance, plain.distance(told.image_id, template_id)
            expected = distance if radius is not None and distance <= radius else None
            if told.templates.get(template_id) != expected:
                wrong.append(f"{told.image_id} told {told.templates.get(template_id)}, not {expected}")
    return wrong


def wrong_rows(connection: Connection, log: Log, plain: Plain) -> tuple[list[str], int]:
    """Differences between the table and the plain comparison, and how many rows there should be."""
    stored = {
        (row.image_id, row.template_id): row.distance
        for row in connection.execute(
            text(
                "SELECT i.image_id, t.template_id, m.distance FROM template_match m"
                " JOIN image i ON i.id = m.image_id JOIN template t ON t.id = m.template_id"
            )
        )
    }
    assert not connection.execute(
        text(
            "SELECT 1 FROM template WHERE deleted_at IS NULL AND enabled"
            " AND scanned_seq IS DISTINCT FROM change_seq"
        )
    ).all()
    expected = {
        (image_id, template_id): distance
        for template_id, changes in log.changes.items()
        for image_id in plain.images
        if (radius := changes[-1].max_distance) is not None
        and (distance := plain.distance(image_id, template_id)) <= radius
    }
    wrong = [
        f"{key}: {stored.get(key)}, not {expected.get(key)}"
        for key in stored.keys() | expected.keys()
        if stored.get(key) != expected.get(key)
    ]
    return wrong, len(expected)


def found_wrong(engine: Engine, log: Log) -> list[str]:
    """All that was wrong, of answers and rows."""
    with engine.connect() as connection:
        plain = Plain(connection, log)
        wrong, rows = wrong_rows(connection, log, plain)
        by_keypoints = connection.execute(
            text(
                "SELECT count(*) FROM template_match m JOIN template t ON t.id = m.template_id"
                " WHERE t.fingerprint = 'keypoints'"
            )
        ).scalar_one()
    assert rows > 30  # else there is nothing to be wrong about
    assert by_keypoints
    return wrong + wrong_answers(log, plain)


@pytest.fixture
def workers(settings: Settings, decoders: DecodePool) -> Iterator[list[Parts]]:
    """Two workers on one database."""
    made = [make_parts(settings, decoders=decoders) for _ in range(2)]
    yield made
    for each in made:
        each.close()


def test_no_image_and_no_template_slip_past_each_other(workers: list[Parts]) -> None:
    log = run(workers)
    assert found_wrong(workers[0].engine, log) == []
    assert sum(len(told.templates) for told in log.told) > 30
    assert log.refused == []
    assert log.broken_off == []


def test_templates_that_are_never_read_again_are_caught(
    workers: list[Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(index: TableIndex, connection: Connection, *, up_to: int, limit: int) -> stamps.Changes:
        return stamps.changes_after(connection, index.last, up_to=up_to, limit=limit)

    monkeypatch.setattr(TableIndex, "read_changes", forgetful)
    assert found_wrong(workers[0].engine, run(workers))


def test_templates_that_are_read_before_the_image_is_stored_are_caught(
    workers: list[Parts], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = threading.local()
    insert, recognise = Intake._insert, screening.recognise

    def early(intake: Intake, connection: Connection, *args: Any) -> Any:
        known.templates = intake.screening.collection.caught_up(connection).templates
        # As a busy machine would have it, at times for longer than a scan takes: else that sees the image.
        time.sleep(random.choice((0.05, 0.05, 2.0)))
        return insert(intake, connection, *args)

    def late(connection: Connection, _: Templates, seqs: Any) -> Any:
        return recognise(connection, known.templates, seqs)

    monkeypatch.setattr(Intake, "_insert", early)
    monkeypatch.setattr(screening, "recognise", late)
    assert found_wrong(workers[0].engine, run(workers))
