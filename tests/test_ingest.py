import json
from pathlib import Path
from typing import Any

import pytest

from tests.pictures import drawn, encoded
from tests.service import run


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
    answers = {line["claim_id"]: line for line in map(json.loads, done.stdout.splitlines())}
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
        {image["image_id"] for line in map(json.loads, out.splitlines()) for image in line["images"]}
        for out in (first.stdout, second.stdout)
    ]
    assert ids[0] == ids[1]
    assert all(
        image["verdict"] == "near_duplicate"
        for line in map(json.loads, second.stdout.splitlines())
        for image in line["images"]
    )


def test_claim_comes_from_the_name_or_from_a_table(folder: Path, tmp_path: Path) -> None:
    named = tmp_path / "named"
    named.mkdir()
    (named / "KD-7_front.jpg").write_bytes(encoded(drawn(7)))
    done = run(tmp_path, "ingest", str(named), "--claim-from", "name", "--json")
    assert json.loads(done.stdout)["claim_id"] == "KD-7"
    table = tmp_path / "claims.csv"
    table.write_text("file,claim\nin/KD-1/front.jpg,KD-A\n")
    done = run(tmp_path, "ingest", str(folder), "--claim-from", "csv", "--claims", str(table), "--json")
    lines = {line["claim_id"]: line for line in map(json.loads, done.stdout.splitlines())}
    assert lines["KD-A"]["images"]
    assert len(lines[""]["rejected"]) == 1
    assert "no line for this file" in done.stdout


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
