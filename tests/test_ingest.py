import errno
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.ingest import for_scan
from app.embedded import EmbeddedServer
from app.errors import Unavailable
from app.settings import Settings, settings_from_environment
from app.sources.inputs import LocalFile
from app.sources.journal import Journal
from tests.pictures import drawn, encoded
from tests.service import COMMAND, ROOT, environment, run


def start(data_dir: Path, *words: str, **settings: object) -> "subprocess.Popen[str]":
    """Start one `claimprint` command."""
    return subprocess.Popen(
        [*COMMAND, *words],
        env=environment(data_dir, **settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=data_dir,
    )


@pytest.fixture
def ingest_here(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Run `claimprint ingest` in this process, where a disk that fails can be made: `ingest_here(folder)`."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DECODE_PROCESSES", "1")
    monkeypatch.setattr("sys.setswitchinterval", lambda _: None)

    def ingest_here(*words: object) -> Any:
        return CliRunner().invoke(main, ["ingest", *map(str, words), "--claim-from", "parent"])

    settings_from_environment.cache_clear()
    yield ingest_here
    settings_from_environment.cache_clear()


def wait_for(told: Callable[[], Any]) -> Any:
    """Wait until something is told, for a minute."""
    deadline = time.monotonic() + 60
    while not (found := told()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def pictures(printed: str) -> list[dict[str, Any]]:
    """The lines of `--json` that are about one picture."""
    return [line for line in map(json.loads, printed.splitlines()) if "path" in line]


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """Three claims' folders: a picture, a copy of it, and a file that is none."""
    for claim, data in (
        ("KD-1", encoded(drawn(1))),
        ("KD-2", encoded(drawn(1), quality=50)),
        ("KD-3", b"nothing"),
    ):
        (tmp_path / "in" / claim).mkdir(parents=True)
        (tmp_path / "in" / claim / "front.jpg").write_bytes(data)
    return tmp_path / "in"


def test_folders_are_claims_and_copies_are_found(folder: Path, tmp_path: Path) -> None:
    done = run(tmp_path, "ingest", str(folder), "--claim-from", "parent", "--json")
    assert done.returncode == 1
    answers = {line["claim_id"]: line for line in pictures(done.stdout)}
    verdicts = {claim: [image["verdict"] for image in line["images"]] for claim, line in answers.items()}
    # Which of the two copies comes first is up to the threads; the later one finds the other.
    assert "near_duplicate" in verdicts["KD-1"] + verdicts["KD-2"]
    assert answers["KD-3"]["rejected"][0]["problem"]["status"] == 415
    assert "2 new" in done.stderr
    assert "1 rejected" in done.stderr


def test_second_run_stores_nothing_twice_and_gives_the_same_answers(folder: Path, tmp_path: Path) -> None:
    (folder / "KD-3" / "front.jpg").unlink()
    first = run(tmp_path, "ingest", str(folder), "--claim-from", "parent", "--json")
    second = run(tmp_path, "ingest", str(folder), "--claim-from", "parent", "--json")
    assert (first.returncode, second.returncode) == (0, 0)
    assert "2 already stored" in second.stderr
    ids = [
        {image["image_id"] for line in pictures(out) for image in line["images"]}
        for out in (first.stdout, second.stdout)
    ]
    assert ids[0] == ids[1]
    assert all(
        image["verdict"] == "near_duplicate" for line in pictures(second.stdout) for image in line["images"]
    )


def test_claim_comes_from_the_name_or_from_a_table(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "KD-7_front.jpg").write_bytes(encoded(drawn(7)))
    done = run(tmp_path, "ingest", str(named), "--claim-from", "name", "--json")
    assert pictures(done.stdout)[0]["claim_id"] == "KD-7"
    table = tmp_path / "claims.csv"
    table.write_text("file,claim\nin/KD-1/front.jpg,KD-A\nin/gone.jpg,KD-A\n")
    done = run(tmp_path, "ingest", str(folder), "--claim-from", "csv", "--claims", str(table), "--json")
    lines = {line["claim_id"]: line for line in pictures(done.stdout)}
    assert lines["KD-A"]["images"]
    assert len(lines[""]["rejected"]) == 1
    assert "no line for this file" in done.stdout
    assert "1 lines of claims.csv are for no file of these: in/gone.jpg" in done.stderr


def test_claims_that_become_one_are_told_of(tmp_path: Path) -> None:
    for number, name in enumerate(("Ä-17", "Ö-17", "KD-1")):
        place = tmp_path / "named" / name
        place.mkdir(parents=True)
        (place / "front.jpg").write_bytes(encoded(drawn(number)))
    for _ in range(2):
        done = run(tmp_path, "ingest", str(tmp_path / "named"), "--claim-from", "parent", "--json")
        told = json.loads(done.stdout.splitlines()[-1])["summary"]["claim_ids_of_several_spellings"]
        assert told == int("1 claim ids stand for several spellings, as 17: 'Ä-17', 'Ö-17'" in done.stderr)
        if told == 0:
            break
    assert (told, json.loads(done.stdout.splitlines()[-1])["summary"]["already_stored"]) == (0, 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("parent", "--claims", __file__), "--claims is for --claim-from csv, not for parent"),
        (("csv", "--claim-regex", "(?P<claim>.)"), "--claim-regex is for --claim-from regex, not for csv"),
        (("name", "--claim-on", "name"), "--claim-on is for --claim-from regex, not for name"),
    ],
)
def test_an_option_that_does_not_apply_is_refused(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(main, ["ingest", str(folder), "--claim-from", *words])
    assert done.exit_code == 2
    assert said in done.stderr


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_an_input_that_can_not_be_read_now_is_told_and_ends_with_3(
    folder: Path, ingest_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    def fail(_: Any) -> Any:
        raise Unavailable("the file can't be read now: Input/output error")

    monkeypatch.setattr(LocalFile, "open", fail)
    done = ingest_here(folder / "KD-1", *words)
    assert done.exit_code == 3
    assert "1 inputs are left for the next run" in done.stderr
    path = str(folder / "KD-1" / "front.jpg")
    if words:
        (line,) = pictures(done.stdout)
        assert (line["path"], line["state"], line["images"]) == (path, "left", [])
        assert "Input/output error" in line["rejected"][0]["problem"]["detail"]
    else:
        assert f"{path}: left for the next run: the file can't be read now" in done.stderr


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EROFS, "Read-only file system"), "OSError: [Errno 30] Read-only file system"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("a bug\nof two lines"), "RuntimeError: a bug"),
    ],
)
def test_a_crash_does_not_end_as_if_some_had_been_rejected(
    folder: Path,
    ingest_here: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    said: str,
) -> None:
    def fail(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(Journal, "complete", fail)
    (folder / "KD-1" / "front.jpg").write_bytes(b"")
    done = ingest_here(folder / "KD-1")
    assert done.exit_code == 3
    assert f"claimprint: {said}\n" in done.stderr
    assert "0 pictures in" in done.stderr
    assert "stopped; run it again to go on" in done.stderr
    assert [record.exc_info[1] for record in caplog.records if record.exc_info] == [error]


def test_a_crash_before_the_first_picture_is_told_too(
    folder: Path, ingest_here: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder.parent / "data").write_bytes(b"a file where the folder would be")
    done = ingest_here(folder)
    assert done.exit_code == 3
    assert "claimprint: NotADirectoryError: " in done.stderr
    assert "stopped; run it again to go on" in done.stderr


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Sixty pictures of sixty claims, each of which another claim has too."""
    folder = tmp_path / "in"
    folder.mkdir()
    for seed in range(60):
        (folder / f"A{seed}_front.jpg").write_bytes(encoded(drawn(seed)))
        (folder / f"B{seed}_front.jpg").write_bytes(encoded(drawn(seed), quality=60))
    return folder


def check_all_are_there_once(tmp_path: Path, pairs: Path) -> None:
    done = run(tmp_path, "ingest", str(pairs), "--claim-from", "name", "--json")
    assert done.returncode == 0, done.stderr
    again = run(tmp_path, "ingest", str(pairs), "--claim-from", "name", "--json")
    images = [image for line in pictures(again.stdout) for image in line["images"]]
    assert len({image["image_id"] for image in images}) == len(images) == 120
    assert {image["verdict"] for image in images} == {"near_duplicate"}
    # Those of a run that was killed are left as well, for the sweep.
    kept = {path.name for path in (tmp_path / "pictures").glob("*/*")}
    parts = ("original", "rendition.jpg")
    assert {f"{image['image_id']}.{part}" for image in images for part in parts} <= kept


def start_and_kill(tmp_path: Path, pairs: Path) -> None:
    """Kill a run as soon as it has written something."""
    process = start(tmp_path, "ingest", str(pairs), "--claim-from", "name")
    journal = wait_for(lambda: next((tmp_path / "ingest").glob("*.jsonl"), None))
    before = journal.stat().st_size
    wait_for(lambda: process.poll() is not None or journal.stat().st_size > before)
    process.kill()
    process.communicate()


@pytest.mark.long
def test_a_run_that_was_killed_is_gone_on_with(pairs: Path, tmp_path: Path) -> None:
    for _ in range(3):
        start_and_kill(tmp_path, pairs)
    check_all_are_there_once(tmp_path, pairs)


@pytest.mark.long
def test_a_run_outlives_its_database(pairs: Path, tmp_path: Path) -> None:
    with EmbeddedServer.start(tmp_path / "server") as server:
        words = ("ingest", str(pairs), "--claim-from", "name")
        process = start(tmp_path, *words, database_url=server.url)
        for some in (1, 40):
            wait_for(lambda some=some: len(list(tmp_path.glob("pictures/*/*.rendition.jpg"))) >= some)
            assert process.poll() is None
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            wait_for(lambda: server.poll() is not None)
            time.sleep(1)
            server.restart()
        _, said = process.communicate(timeout=90)
        assert process.returncode == 0, said
        assert "120 new" in said
        again = run(tmp_path, *words, "--json", database_url=server.url)
    images = [image for line in pictures(again.stdout) for image in line["images"]]
    assert len({image["image_id"] for image in images}) == 120
    assert {image["verdict"] for image in images} == {"near_duplicate"}


@pytest.mark.long
def test_ctrl_c_finishes_what_is_under_way_and_says_so(pairs: Path, tmp_path: Path) -> None:
    process = start(tmp_path, "ingest", str(pairs), "--claim-from", "name")
    wait_for(lambda: list((tmp_path / "pictures").glob("*/*.rendition.jpg")))
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 3
    assert "run it again to go on" in said
    taken = int(re.search(r"(\d+) new", said)[1])  # type: ignore[index]
    assert 0 < taken < 120
    journal = next((tmp_path / "ingest").glob("*.jsonl")).read_text()
    assert journal.count('"stored"') == taken
    check_all_are_there_once(tmp_path, pairs)


def test_the_same_word_for_two_folders_is_not_taken_for_one(folder: Path, tmp_path: Path) -> None:
    (folder / "KD-2" / "front.jpg").write_bytes((folder / "KD-1" / "front.jpg").read_bytes())
    times = (folder / "KD-1" / "front.jpg").stat().st_mtime_ns
    os.utime(folder / "KD-2" / "front.jpg", ns=(times, times))
    for claim in ("KD-1", "KD-2"):
        done = subprocess.run(
            [*COMMAND, "ingest", ".", "--claim-from", "parent"],
            env=environment(tmp_path, pythonpath=ROOT),
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            cwd=folder / claim,
        )
        assert "1 new" in done.stderr
    assert "same_file" in done.stdout


def test_what_ends_a_run_early_is_told_by_its_exit_code(folder: Path, tmp_path: Path) -> None:
    wrong = run(tmp_path, "ingest", str(folder), "--claim-from", "regex", "--claim-regex", "x(")
    assert wrong.returncode == 2
    assert "pattern" in wrong.stderr
    nowhere = run(tmp_path, "ingest", "ftp://host/claims", "--claim-from", "parent")
    assert nowhere.returncode == 2
    assert "again" not in nowhere.stderr  # it would come no further
    away = run(
        tmp_path, "ingest", str(folder), "--claim-from", "parent", database_url="postgresql://127.0.0.1:1/x"
    )
    assert away.returncode == 3
    assert "Traceback" not in away.stderr
    process = start(tmp_path, "ingest", str(folder), "--claim-from", "parent", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr:
        said = process.stderr.read()
    assert process.wait(timeout=60) == 3
    assert "nobody reads the answers" in said


def test_a_full_disk_ends_a_run_that_goes_on_when_there_is_room(folder: Path, tmp_path: Path) -> None:
    words = ("ingest", str(folder / "KD-1"), "--claim-from", "parent")
    full = run(tmp_path, *words, min_free_bytes=1 << 60)
    assert full.returncode == 3
    assert "nearly full" in full.stderr
    assert "run it again to go on" in full.stderr
    assert "1 new" in run(tmp_path, *words).stderr


def test_ingest_joins_the_running_service(folder: Path, tmp_path: Path) -> None:
    from tests.service import Service

    service = Service(tmp_path / "data").wait_until_ready()
    try:
        made = run(tmp_path / "data", "keys", "create", "--client", "t", "--role", "admin")
        service.key = made.stdout.splitlines()[-1]
        assert len(service.key) > 40
        run(tmp_path / "data", "ingest", str(folder), "--claim-from", "parent")
        _, answer = service.upload("KD-9", encoded(drawn(1)))
        assert answer["images"][0]["matches_total"] == 2
    finally:
        service.stop()


def test_keys_are_listed_by_prefix_and_revoked(tmp_path: Path) -> None:
    key = run(tmp_path, "keys", "create", "--client", "portal-de", "--role", "portal").stdout.splitlines()[-1]
    listed = run(tmp_path, "keys", "list").stdout
    assert key[:11] in listed
    assert key not in listed
    assert run(tmp_path, "keys", "revoke", key[:11]).returncode == 0
    assert "revoked" in run(tmp_path, "keys", "list").stdout
    unknown = run(tmp_path, "keys", "revoke", "cp_nothing")
    assert unknown.returncode == 1
    assert "cp_nothing" in unknown.stderr


def test_reindex_works_without_a_service(folder: Path, tmp_path: Path) -> None:
    run(tmp_path, "ingest", str(folder), "--claim-from", "parent")
    done = run(tmp_path, "reindex", "--rehash")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["rehash"]["images"] == 2


@pytest.mark.parametrize(
    ("own", "processes", "niceness"),
    [
        ({}, os.cpu_count() + 1, 10),
        ({"decode_processes": 1}, 1, 10),
        ({"decode_niceness": 0}, os.cpu_count() + 1, 0),
    ],
)
def test_a_scan_has_a_decoding_process_more_and_all_yield_unless_told_otherwise(own, processes, niceness):
    settings = for_scan(Settings(_env_file=None, **own), "postgresql://somewhere")
    assert (settings.decode_processes, settings.decode_niceness) == (processes, niceness)
    assert settings.database_url == "postgresql://somewhere"
