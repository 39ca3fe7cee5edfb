"""The checker itself, on histories written by hand."""

from pathlib import Path

import numpy as np
import pytest

from app.fingerprints.value import turned_to_bytes
from tests.consistency.checker import check
from tests.consistency.history import (
    Answered,
    Crashed,
    Deleted,
    DeleteRequested,
    Drawn,
    Event,
    Journal,
    Rebuilt,
    Sent,
    read_history,
)
from tests.consistency.report import FaultKind, Report
from tests.rules import rule

RULE = rule(near=10, verifier=76, page_verifier=24)
TURNED = np.random.default_rng(1).integers(0, 1 << 64, (8, 9), np.uint64)
ONE, COPY, OTHER = "11", "22", "33"  # SHA-256 of three pictures: the second is a near duplicate of the first


def drawn(sha256: str, turned: np.ndarray) -> Drawn:
    return Drawn(sha256, f"{sha256}00", False, False, turned_to_bytes(turned).hex())


PICTURES = [drawn(ONE, TURNED), drawn(COPY, TURNED ^ np.uint64(0b1011)), drawn(OTHER, ~TURNED)]


def answered(image_id: str, sha256: str, seq: int, *matches: str, at: int = 0, claim: str = "") -> Answered:
    """Began at ten times its stamp, answered five later, unless `at` says when."""
    began = at or seq * 10
    return Answered(began, began + 5, image_id, claim or f"claim-{image_id}", sha256, seq, matches)


def report(*events: Event) -> Report:
    sent = [Sent(item.image_id, item.sha256) for item in events if isinstance(item, Answered)]
    return check([*PICTURES, *sent, *events], RULE)


def kinds(*events: Event) -> list[FaultKind]:
    return [fault.kind for fault in report(*events).faults]


def test_a_complete_answer_is_no_fault() -> None:
    found = report(answered("a", ONE, 1), answered("b", COPY, 2, "a"), answered("c", OTHER, 3))
    assert (found.answers, found.images, found.pairs, list(found.faults)) == (3, 3, 1, [])


def test_a_match_that_is_not_listed_is_missed() -> None:
    found = report(answered("a", ONE, 1), answered("b", COPY, 2))
    assert [fault.kind for fault in found.faults] == [FaultKind.MISSED]
    assert "image b" in found.faults[0].about


def test_the_stamp_and_not_the_time_of_the_answer_decides_which_is_later() -> None:
    assert kinds(answered("a", ONE, 1, at=100), answered("b", COPY, 2, at=20)) == [FaultKind.MISSED]
    assert kinds(answered("a", ONE, 2, at=20), answered("b", COPY, 1, "a", at=100)) == [FaultKind.MISSED]


def test_the_earlier_answer_may_list_the_later_image_and_need_not() -> None:
    assert kinds(answered("a", ONE, 1, "b", at=100), answered("b", COPY, 2, "a")) == []
    assert kinds(answered("a", ONE, 1, at=100), answered("b", COPY, 2, "a")) == []


def test_every_answer_for_the_same_bytes_must_be_complete() -> None:
    replayed = answered("b", COPY, 2, at=70)
    assert kinds(answered("a", ONE, 1), answered("b", COPY, 2, "a"), replayed) == [FaultKind.MISSED]


def test_the_same_bytes_for_another_claim_match() -> None:
    assert kinds(answered("a", ONE, 1), answered("b", ONE, 2)) == [FaultKind.MISSED]
    assert kinds(answered("a", ONE, 1), answered("b", ONE, 2, "a")) == []


def test_a_picture_that_does_not_match_is_a_false_match() -> None:
    assert kinds(answered("a", ONE, 1), answered("b", OTHER, 2, "a")) == [FaultKind.FALSE_MATCH]


def test_an_image_that_nobody_sent_is_a_false_match() -> None:
    assert kinds(answered("a", ONE, 1, "nobody")) == [FaultKind.FALSE_MATCH]


def test_an_image_is_no_match_of_itself() -> None:
    assert kinds(answered("a", ONE, 1, "a")) == [FaultKind.FALSE_MATCH]


def test_an_image_that_was_sent_and_never_acknowledged_may_be_listed() -> None:
    assert kinds(Sent("lost", COPY), answered("a", ONE, 1, "lost")) == []


@pytest.mark.parametrize(("requested_ns", "expected"), [(24, []), (25, []), (26, [FaultKind.MISSED])])
def test_a_match_may_be_left_out_once_its_deletion_was_requested(
    requested_ns: int, expected: list[FaultKind]
) -> None:
    first, second = answered("a", ONE, 1), answered("b", COPY, 2)  # answered at 25
    assert kinds(first, DeleteRequested(requested_ns, "a"), second) == expected


@pytest.mark.parametrize(("deleted_ns", "expected"), [(19, [FaultKind.GHOST]), (20, [])])
def test_a_match_must_be_left_out_once_its_deletion_was_acknowledged(
    deleted_ns: int, expected: list[FaultKind]
) -> None:
    first, second = answered("a", ONE, 1), answered("b", COPY, 2, "a")  # begins at 20
    assert kinds(first, DeleteRequested(16, "a"), Deleted(deleted_ns, "a"), second) == expected


def test_an_answer_about_an_image_that_is_being_deleted_promises_nothing() -> None:
    answers = [answered("a", ONE, 1), answered("b", COPY, 2, "a"), answered("b", COPY, 2, at=70)]
    assert kinds(*answers, DeleteRequested(72, "b")) == []
    assert kinds(*answers, DeleteRequested(76, "b")) == [FaultKind.MISSED]


def test_two_images_of_one_stamp_are_a_fault() -> None:
    assert kinds(answered("a", ONE, 1), answered("c", OTHER, 1)) == [FaultKind.RENUMBERED]


def test_an_image_of_two_stamps_is_a_fault() -> None:
    assert FaultKind.RENUMBERED in kinds(answered("a", ONE, 1), answered("a", ONE, 2))


def test_the_same_bytes_for_the_same_claim_are_the_same_image_until_it_is_deleted() -> None:
    first = answered("a", ONE, 1, claim="same")
    second = answered("b", ONE, 2, "a", claim="same")
    assert kinds(first, second) == [FaultKind.REPLACED]
    assert kinds(first, DeleteRequested(16, "a"), second) == []


def test_a_crash_and_a_wrong_index_are_faults() -> None:
    assert kinds(Crashed("why"), Rebuilt(0), Rebuilt(2)) == [FaultKind.CRASHED, FaultKind.INDEX_WRONG]


def test_a_history_is_read_back_but_for_a_line_that_was_cut_short(tmp_path: Path) -> None:
    events: list[Event] = [*PICTURES, Sent("a", ONE), answered("a", ONE, 1, "b", "c"), Deleted(7, "a")]
    for number, half in enumerate((events[:3], events[3:])):
        journal = Journal(tmp_path / f"{number}.jsonl")
        for event in half:
            journal.write(event)
    with (tmp_path / "1.jsonl").open("a") as file:
        file.write('["Sent", {"image_id": "b"')
    assert read_history(tmp_path) == events
