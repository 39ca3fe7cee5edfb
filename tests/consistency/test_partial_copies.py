"""Nor does an edited copy slip between two uploads: of two overlapping crops the later answer tells the earlier."""

import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np
from sqlalchemy import Connection

from app.collection import KeypointCollection, KeypointIndex
from app.imaging import DecodePool
from app.ingest import Upload
from app.parts import Parts, make_parts
from app.screening import Answer
from app.settings import Settings
from tests.pictures import detailed, encoded

SOURCES = 12
COPIES = 4


class NeverCatchingUp(KeypointCollection):
    """Answers from the index as the first upload found it."""

    def caught_up(self, connection: Connection, *, committed: int = 0) -> KeypointIndex:
        return super().caught_up(connection) if self.current is None else self.current


def copies_of(number: int) -> list[bytes]:
    """Crops of one picture, no two of which whole-image hashes call copies."""
    whole = detailed(number)
    boxes = [(0, 0, 500, 400), (120, 60, 640, 480), (60, 0, 600, 330), (0, 100, 420, 480)][:COPIES]
    return [encoded(whole.crop(box), quality=80 + place) for place, box in enumerate(boxes)]


@contextmanager
def two_workers(settings: Settings, decoders: DecodePool) -> Iterator[list[Parts]]:
    with ExitStack() as stack:
        workers = [make_parts(settings, decoders=decoders) for _ in range(2)]
        for worker in workers:
            stack.callback(worker.engine.dispose)
        yield workers


def answers_of(workers: list[Parts]) -> list[tuple[int, Answer]]:
    """All answers, each with the number of its source, of uploads in four threads through two workers."""
    uploads = [(number, data) for number in range(SOURCES) for data in copies_of(number)]
    order = np.random.default_rng(7).permutation(len(uploads)).tolist()
    together = threading.Barrier(4)

    def take(thread: int) -> list[tuple[int, Answer]]:
        found = []
        together.wait()
        for place in order[thread::4]:
            number, data = uploads[place]
            outcome = workers[thread % 2].intake.take(
                f"KD-{place}", [Upload("crop.jpg", data)], client_id=None, labels={}
            )
            found.append((number, outcome.answers[0]))
        return found

    with ThreadPoolExecutor(4) as threads:
        return list(itertools.chain(*threads.map(take, range(4))))


def missed(answers: list[tuple[int, Answer]]) -> int:
    """Pairs of one source of which the later answer does not tell the earlier image."""
    count = 0
    for (number, one), (other_number, other) in itertools.combinations(answers, 2):
        earlier, later = sorted((one, other), key=lambda answer: answer.row.created_seq)
        told = {row.image_id for row in later.matches.rows}
        assert number == other_number or earlier.row.image_id not in told
        count += number == other_number and earlier.row.image_id not in told
    return count


def test_of_two_crops_that_overlap_the_later_answer_tells_the_earlier(
    settings: Settings, decoders: DecodePool
) -> None:
    with two_workers(settings, decoders) as workers:
        answers = answers_of(workers)
    kinds = {row.kind for _, answer in answers for row in answer.matches.rows}
    assert "edited_copy" in kinds
    assert missed(answers) == 0


def test_an_index_of_keypoints_that_does_not_catch_up_is_caught(
    settings: Settings, decoders: DecodePool
) -> None:
    with two_workers(settings, decoders) as workers:
        for worker in workers:
            never = NeverCatchingUp(worker.engine)
            worker.intake.screening = replace(worker.intake.screening, keypoints=never)
        assert missed(answers_of(workers)) > SOURCES
