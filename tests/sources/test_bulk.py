"""A bulk intake in this process: what is stored, what is told of it, and what a second run does."""

import errno
import json
import math
import os
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from app.catalog import images
from app.errors import Conflict, StorageFull, Unavailable
from app.parts import Parts
from app.removal import delete_image
from app.sources import patience
from app.sources.bulk import Bulk
from app.sources.claim_rules import claim_rule
from app.sources.inputs import LocalFile, inputs_of
from app.sources.journal import Journal
from app.sources.limits import Limits
from app.sources.room import Room
from app.sources.taken import Taken
from tests.pictures import drawn, encoded
from tests.sources.made import zipped

PATTERN = r"^(?P<claim>[^,]+),(?P<date>[\d.]*)(?P<side>\w*)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures of three claims, one of them used in two."""
    folder = tmp_path / "in"
    folder.mkdir()
    for name, seed in (("A 1,1.2.2025front", 1), ("B/2".replace("/", " ") + ",back", 2), ("C-3,side", 3)):
        (folder / f"{name}.jpg").write_bytes(encoded(drawn(seed)))
    (folder / "C-3,copy.jpg").write_bytes(encoded(drawn(1), quality=60))
    return folder


@pytest.fixture
def take(parts: Parts, tmp_path: Path) -> Callable[..., list[Taken]]:
    """Run a bulk intake to its end: `take(folder)`."""

    def take(*names: Path, pattern: str = PATTERN, digest: str = "rule") -> list[Taken]:
        rule = claim_rule("regex", pattern=pattern)
        with Journal(tmp_path / "journal.jsonl") as journal:
            bulk = Bulk(
                parts.intake, journal, rule, Limits(), rule_digest=digest, at_once=3, stale_seconds=1800
            )
            taken = list(bulk.take(list(inputs_of(map(str, names)))))
            assert not bulk.broke_off
            return taken

    return take


@pytest.fixture
def lines(tmp_path: Path) -> Callable[[], list[dict[str, Any]]]:
    """The lines of the journal about pictures."""

    def lines() -> list[dict[str, Any]]:
        read = map(json.loads, (tmp_path / "journal.jsonl").read_text().splitlines())
        return [line for line in read if line["state"] != "complete"]

    return lines


def states(taken: list[Taken]) -> Counter[str]:
    return Counter(each.state for each in taken)


def stored(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT file_name, claim_id, labels, source, day, screened_at FROM image WHERE deleted_at IS NULL"
            )
        ).all()
    return {row.file_name: row for row in rows}


def test_claim_day_labels_and_source_are_stored(
    take: Callable[..., list[Taken]], folder: Path, engine: Engine
) -> None:
    assert states(take(folder)) == {"stored": 4}
    row = stored(engine)["A 1,1.2.2025front.jpg"]
    assert row.claim_id == "A-1"
    assert row.labels == {"claimed_at": "2025-02-01", "side": "front"}
    assert row.day.isoformat() == "2025-02-01"
    assert row.source == {"path": str(folder / "A 1,1.2.2025front.jpg")}
    assert all(row.screened_at for row in stored(engine).values())


def test_pictures_of_one_batch_find_each_other(take: Callable[..., list[Taken]], folder: Path) -> None:
    found = [each for each in take(folder) if each.verdict == "near_duplicate"]
    told = {(each.answer.row.claim_id, each.answer.matches.rows[0].claim_id) for each in found if each.answer}
    assert told == {("A-1", "C-3"), ("C-3", "A-1")}


def test_the_journal_has_both_spellings_of_a_claim_and_why_a_file_was_rejected(
    take: Callable[..., list[Taken]], folder: Path, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    (folder / "D 4,broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "no claim.jpg").write_bytes(encoded(drawn(9)))
    assert states(take(folder)) == {"stored": 4, "rejected": 2}
    by_name = {Path(line["where"]).name: line for line in lines()}
    assert by_name["A 1,1.2.2025front.jpg"]["claim_id"] == "A-1"
    assert by_name["A 1,1.2.2025front.jpg"]["claim_as_written"] == "A 1"
    assert "JPEG" in by_name["D 4,broken.jpg"]["why"]
    assert "pattern" in by_name["no claim.jpg"]["why"]


def test_a_second_run_reads_only_what_was_rejected_or_is_new(
    take: Callable[..., list[Taken]], folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "D 4,broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    first = take(folder)
    (folder / "E-5,new.jpg").write_bytes(encoded(drawn(5)))
    read: list[str] = []
    monkeypatch.setattr("app.sources.inputs.LocalFile.open", _noting(read))
    second = take(folder)
    assert states(second) == {"already there": 4, "stored": 1, "rejected": 1}
    assert sorted(read) == ["D 4,broken.jpg", "E-5,new.jpg"]
    known = {each.image_id for each in first if each.image_id}
    assert known < {each.image_id for each in second}
    assert len(stored(engine)) == 5


def _noting(read: list[str]) -> Any:
    from app.sources.inputs import LocalFile

    opened = LocalFile.open

    def noting(self: LocalFile) -> Any:
        read.append(self.file_name)
        return opened(self)

    return noting


def test_a_second_run_knows_the_verdicts_of_today(take: Callable[..., list[Taken]], folder: Path) -> None:
    take(folder)
    assert Counter(each.verdict for each in take(folder)) == {"near_duplicate": 2, "none": 2}


def test_what_the_journal_knows_and_the_database_does_not_is_stored_again(
    take: Callable[..., list[Taken]], folder: Path, parts: Parts
) -> None:
    first = take(folder)
    assert first[0].answer is not None
    delete_image(parts.engine, parts.pictures, first[0].answer.row.image_id, actor="test")
    assert states(take(folder)) == {"already there": 3, "stored": 1}


def test_without_its_journal_a_run_decodes_nothing_twice(
    take: Callable[..., list[Taken]],
    folder: Path,
    tmp_path: Path,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    take(folder)
    (tmp_path / "journal.jsonl").unlink()
    monkeypatch.setattr(parts.intake, "receive", None)
    assert states(take(folder)) == {"already there": 4}


def test_another_rule_does_not_go_by_what_was_stored_under_the_first(
    take: Callable[..., list[Taken]], folder: Path, engine: Engine
) -> None:
    take(folder)
    assert states(take(folder, pattern=r"^(?P<claim>.)", digest="other")) == {"stored": 4}
    assert len({row.claim_id for row in stored(engine).values()}) == 3


def test_the_same_file_twice_for_one_claim_is_one_image(
    take: Callable[..., list[Taken]], folder: Path, engine: Engine
) -> None:
    (folder / "C-3,again.jpg").write_bytes((folder / "C-3,side.jpg").read_bytes())
    taken = take(folder)
    assert states(taken) == {"stored": 4, "already there": 1}
    assert len({each.image_id for each in taken}) == 4
    assert len(stored(engine)) == 4


def test_an_image_that_was_stored_and_not_compared_is_compared_by_the_next_run(
    take: Callable[..., list[Taken]], folder: Path, engine: Engine
) -> None:
    take(folder)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))
    assert "near_duplicate" in {each.verdict for each in take(folder)}
    assert all(row.screened_at for row in stored(engine).values())


def test_a_torn_line_of_the_journal_is_read_over(
    take: Callable[..., list[Taken]], folder: Path, tmp_path: Path
) -> None:
    take(folder)
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-25])
    assert states(take(folder)) == {"already there": 4}
    assert states(take(folder)) == {"already there": 4}
    assert json.loads(journal.read_text().splitlines()[-1])["state"] == "complete"


def test_two_runs_do_not_share_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(Conflict, match="another run"):
        Journal(tmp_path / "journal.jsonl")


@pytest.mark.parametrize("step", ["_insert", "_answer"])
def test_a_database_that_is_away_for_a_moment_is_waited_for(
    take: Callable[..., list[Taken]],
    folder: Path,
    engine: Engine,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: str,
) -> None:
    monkeypatch.setattr(patience, "_PAUSE_SECONDS", 0.01)
    done = getattr(parts.intake, step)
    failures = iter(["before", "after"])

    def failing(*given: Any) -> Any:
        # Once with nothing done, and once with all committed and the answer lost.
        when = next(failures, None)
        result = None if when == "before" else done(*given)
        if when is not None:
            raise OperationalError("statement", {}, Exception("server closed the connection"))
        return result

    monkeypatch.setattr(parts.intake, step, failing)
    monkeypatch.setattr(patience, "_told_at", [-math.inf])
    taken = take(folder)
    assert [record.message for record in caplog.records if "waiting" in record.message] == [
        "waiting for the database, up to 60 s: the database can't be reached or did not answer in time"
    ]
    assert states(taken) == {"stored": 4}
    assert len(stored(engine)) == 4
    for each in taken:
        assert each.answer is not None
        assert parts.pictures.read_rendition(each.answer.row.image_id)


def unreadable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files whose name begins so can't be read now, as on a disk that fails or a server that is away."""
    opened = LocalFile.open

    def open_or_not(file: LocalFile) -> Any:
        if file.file_name.startswith(name):
            raise Unavailable("the file can't be read now: Input/output error")
        return opened(file)

    monkeypatch.setattr(LocalFile, "open", open_or_not)


def test_an_input_that_can_not_be_read_now_holds_up_no_other(
    parts: Parts,
    folder: Path,
    tmp_path: Path,
    take: Callable[..., list[Taken]],
    lines: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rule = claim_rule("regex", pattern=PATTERN)
    with monkeypatch.context() as patch, Journal(tmp_path / "journal.jsonl") as journal:
        unreadable(patch, "B 2")
        bulk = Bulk(parts.intake, journal, rule, Limits(), rule_digest="rule", at_once=3, stale_seconds=1800)
        assert states(list(bulk.take(list(inputs_of([str(folder)]))))) == {"stored": 3, "left": 1}
        assert bulk.broke_off  # and the exit code says so
    (line,) = [line for line in lines() if line["state"] == "left"]
    assert line["input"] == line["where"] == str(folder / "B 2,back.jpg")
    assert line["why"] == "the file can't be read now: Input/output error"
    assert states(take(folder)) == {"already there": 3, "stored": 1}


def away(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files whose name begins so can't even be looked at, as on a share that is away."""
    stat = os.stat

    def stat_or_not(path: Any, **given: Any) -> Any:
        if os.path.basename(path).startswith(name):  # noqa: PTH119
            raise OSError(errno.ESTALE, "Stale file handle")
        return stat(path, **given)

    monkeypatch.setattr("app.sources.inputs.os.stat", stat_or_not)


def test_an_input_that_can_not_be_looked_at_now_holds_up_no_other(
    parts: Parts,
    folder: Path,
    tmp_path: Path,
    lines: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        away(patch, "B 2")
        inputs = list(inputs_of([str(folder)]))
    with Journal(tmp_path / "journal.jsonl") as journal:
        rule = claim_rule("regex", pattern=PATTERN)
        bulk = Bulk(parts.intake, journal, rule, Limits(), rule_digest="rule", at_once=3, stale_seconds=1800)
        assert states(list(bulk.take(inputs))) == {"stored": 3, "left": 1}
        assert bulk.broke_off
    (line,) = [line for line in lines() if line["state"] == "left"]
    assert line["input"] == str(folder / "B 2,back.jpg")
    assert "Stale file handle" in line["why"]


def test_many_inputs_that_can_not_be_looked_at_end_the_run(
    tmp_path: Path, take: Callable[..., list[Taken]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(20):
        (tmp_path / f"x{number},x.jpg").write_bytes(b"not reached")
    away(monkeypatch, "x")
    with pytest.raises(Unavailable):
        take(tmp_path)


def test_many_inputs_that_can_not_be_read_end_the_run(
    tmp_path: Path,
    take: Callable[..., list[Taken]],
    lines: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(20):
        (tmp_path / f"{number},x.jpg").write_bytes(b"not reached")
    unreadable(monkeypatch, "")
    with pytest.raises(Unavailable):
        take(tmp_path)
    assert {line["state"] for line in lines()} == {"left"}
    assert len(lines()) >= 8


def test_a_journal_that_finds_no_room_at_its_end_says_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal._file.close()
    journal._file = Path("/dev/full").open("wb")  # noqa: SIM115
    journal.write(input="a", state="stored")
    with pytest.raises(StorageFull):
        journal.__exit__()


def test_a_full_disk_ends_the_run_and_the_next_goes_on(
    take: Callable[..., list[Taken]],
    folder: Path,
    engine: Engine,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(parts.pictures, "_min_free_bytes", 1 << 60)
        with pytest.raises(StorageFull):
            take(folder)
    assert not stored(engine)
    assert not list(parts.pictures.old_pictures(-1))
    assert states(take(folder)) == {"stored": 4}


def test_a_bug_in_a_thread_ends_the_run_and_leaves_no_files(
    take: Callable[..., list[Taken]], folder: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Any) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr(parts.intake, "again", broken)
    with pytest.raises(ZeroDivisionError):
        take(folder)
    assert not list(parts.pictures.old_pictures(-1))


def tripping(monkeypatch: pytest.MonkeyPatch, parts: Parts, data: bytes | None = None) -> None:
    """A bug in what fingerprints, which these bytes lead to, or all."""
    fingerprint = parts.intake.decoders.fingerprint

    def fingerprint_or_trip(path: Path, rendition: Path | None) -> Any:
        if data is None or path.read_bytes() == data:
            raise RuntimeError("dictionary changed size")
        return fingerprint(path, rendition)

    monkeypatch.setattr(parts.intake.decoders, "fingerprint", fingerprint_or_trip)


def test_a_picture_that_a_bug_shows_up_with_holds_up_no_other(
    take: Callable[..., list[Taken]],
    folder: Path,
    parts: Parts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    tripping(monkeypatch, parts, (folder / "B 2,back.jpg").read_bytes())
    taken = take(folder)
    assert states(taken) == {"stored": 3, "rejected": 1}
    (rejected,) = [each for each in taken if each.error]
    assert rejected.where == str(folder / "B 2,back.jpg")
    assert rejected.error
    assert "not be fingerprinted: RuntimeError: dictionary changed size" in rejected.error.message
    assert [record.exc_info is not None for record in caplog.records if "B 2" in record.message] == [True]
    assert len(list(parts.pictures.old_pictures(-1))) == 3


def test_a_bug_that_each_picture_shows_up_ends_the_run(
    take: Callable[..., list[Taken]],
    folder: Path,
    parts: Parts,
    lines: Callable[[], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for number in range(20):
        (folder / f"{number},x.jpg").write_bytes(f"picture {number}".encode())
    tripping(monkeypatch, parts)
    with pytest.raises(RuntimeError):
        take(folder)
    assert Counter(line["state"] for line in lines()) == {"rejected": 7}
    assert not list(parts.pictures.old_pictures(-1))


def test_what_waited_so_long_that_a_sweep_may_have_erased_it_is_not_stored(
    parts: Parts, folder: Path, tmp_path: Path, engine: Engine
) -> None:
    with Journal(tmp_path / "journal.jsonl") as journal:
        rule = claim_rule("regex", pattern=PATTERN)
        bulk = Bulk(parts.intake, journal, rule, Limits(), rule_digest="", at_once=2, stale_seconds=-1)
        with pytest.raises(Unavailable, match="held up"):
            list(bulk.take(list(inputs_of([str(folder)]))))
    assert not stored(engine)
    assert not list(parts.pictures.old_pictures(-1))


def test_a_full_disk_of_temporary_files_is_not_the_pictures_fault(
    take: Callable[..., list[Taken]], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device")

    inner = zipped([("K1,a.jpg", encoded(drawn(7)))])
    (folder / "outer.zip").write_bytes(zipped([("inner.zip", inner)]))
    monkeypatch.setattr("app.sources.containers.tempfile.SpooledTemporaryFile", full)
    with pytest.raises(StorageFull):
        take(folder)


def test_a_run_that_is_stopped_finishes_what_is_under_way(
    parts: Parts, tmp_path: Path, engine: Engine
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for seed in range(60):
        (folder / f"K{seed},side.jpg").write_bytes(encoded(drawn(seed)))
    rule = claim_rule("regex", pattern=PATTERN)
    with Journal(tmp_path / "journal.jsonl") as journal:
        bulk = Bulk(parts.intake, journal, rule, Limits(), rule_digest="", at_once=2, stale_seconds=1800)
        bulk._pipeline._read_one = _stopping_after(bulk, 20)  # type: ignore[method-assign]
        taken = list(bulk.take(list(inputs_of([str(folder)]))))
    assert bulk.broke_off
    assert len(taken) == len(stored(engine)) < 60
    left = {str(path) for path in folder.iterdir()} - {each.where for each in taken}
    assert len(left) == 60 - len(taken)
    assert len(list(parts.pictures.old_pictures(-1))) == len(taken)


def _stopping_after(bulk: Bulk, count: int) -> Callable[[Any], None]:
    read = bulk._pipeline._read_one
    counted = iter(range(count))

    def read_one(source: Any) -> None:
        if next(counted, None) is None:
            bulk.stop.set()
        read(source)

    return read_one


@pytest.fixture
def room() -> Room:
    return Room(2, 100)


def test_room_is_waited_for(room: Room) -> None:
    room.take(60)
    entered = threading.Event()

    def enter() -> None:
        room.take(60)
        entered.set()

    thread = threading.Thread(target=enter)
    thread.start()
    assert not entered.wait(0.1)
    room.free_bytes(60)
    assert entered.wait(5)
    thread.join()


def test_what_is_larger_than_all_room_waits_to_be_alone(room: Room) -> None:
    room.take(1000)
    room.free_bytes(1000)
    room.free_place()
    room.take(1)


def test_ids_that_the_database_knows_not_are_no_verdicts(parts: Parts) -> None:
    from uuid import uuid4

    from app.screening import verdicts_of

    with parts.engine.connect() as connection:
        assert verdicts_of(connection, [uuid4()]) == {}
        assert images.live_by_bytes(connection, {("claim", b"bytes")}) == {}
