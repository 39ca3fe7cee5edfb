"""What uploads are told of pictures that are alike and no copies."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from app import partial_copies, screening
from app.catalog import images, matches, session
from app.catalog.rows import AnyRow
from app.errors import StorageFull, Unavailable
from app.fingerprints.keypoint_value import Keypoints
from app.index.set_tables import Hits
from app.ingest import Upload
from app.jobs import sweep
from app.jobs.sweep import screen_unanswered
from app.matching.evidence import of_whole
from app.parts import Parts
from app.removal import delete_image
from app.screening import screen
from app.storage.local import LocalPictures
from tests.pictures import detailed, drawn, encoded


def textured(seed: int) -> Image.Image:
    """One picture with a fine texture of its own, in which none of its keypoints is left."""
    picture = Image.blend(Image.new("RGB", (480, 360), (128, 128, 128)), drawn(5, (480, 360)), 0.5)
    cells = np.random.default_rng(seed).integers(-12, 13, (picture.height // 14, picture.width // 14))
    texture = Image.fromarray(cells.astype(np.int32)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.fromarray(
        np.clip(np.asarray(picture) + np.asarray(texture)[..., None], 0, 255).astype(np.uint8)
    )


def verdict_of_second(parts: Parts, first: Image.Image, second: Image.Image) -> str:
    for claim_id, picture in (("A", first), ("B", second)):
        upload = Upload("a.jpg", encoded(picture, quality=90))
        outcome = parts.intake.take(claim_id, [upload], client_id=None, labels={})
    return outcome.answers[0].verdict


def test_two_pictures_alike_but_for_all_detail_are_no_near_duplicates(parts: Parts) -> None:
    assert verdict_of_second(parts, textured(1), textured(2)) == "none"


@pytest.mark.parametrize("turned", [ImageOps.mirror, lambda picture: picture], ids=["mirrored", "as it is"])
def test_a_copy_in_which_no_keypoint_agrees_is_a_near_duplicate(parts: Parts, turned: object) -> None:
    """Smooth all over, it has none."""
    whole = drawn(4, (480, 360))
    assert callable(turned)
    assert verdict_of_second(parts, whole, turned(whole).resize((400, 300))) == "near_duplicate"


def test_pictures_that_are_screened_together_find_what_each_was_cut_from(parts: Parts) -> None:
    wholes = [encoded(detailed(seed), quality=90) for seed in range(4)]
    crops = [encoded(detailed(seed).crop((60, 40, 560, 420)).rotate(7), quality=90) for seed in range(4)]
    stored = parts.intake.take(
        "A", [Upload("a.jpg", data) for data in wholes], client_id=None, labels={}
    ).answers
    gone = stored[2].row.image_id
    delete_image(parts.engine, parts.intake.pictures, gone, actor="test")
    found = parts.intake.take("B", [Upload("b.jpg", data) for data in crops], client_id=None, labels={})
    told = [[match.image_id for match in answer.matches.rows] for answer in found.answers]
    assert told == [[each.row.image_id] if each.row.image_id != gone else [] for each in stored]


@pytest.mark.parametrize("kept", [0, 2000], ids=["empty", "torn off"])
def test_a_damaged_rendition_keeps_no_later_image_from_being_compared(parts: Parts, kept: int) -> None:
    whole, crop = detailed(1), detailed(1).crop((60, 40, 560, 420))
    stored = parts.intake.take("A", [Upload("a.jpg", encoded(whole))], client_id=None, labels={}).answers
    pictures = parts.intake.pictures
    assert isinstance(pictures, LocalPictures)
    rendition = pictures.files(stored[0].row.image_id).rendition
    rendition.write_bytes(rendition.read_bytes()[:kept])
    [answer] = parts.intake.take("B", [Upload("b.jpg", encoded(crop))], client_id=None, labels={}).answers
    assert [match.image_id for match in answer.matches.rows] == [stored[0].row.image_id]
    seqs = [answer.row.created_seq, stored[0].row.created_seq]
    screen(parts.engine, parts.intake.screening, seqs)  # as the sweep does with what was never answered


def cropped(whole: Image.Image) -> Image.Image:
    return whole.crop((60, 40, 560, 420))


def smaller(whole: Image.Image) -> Image.Image:
    return whole.resize((whole.width // 2, whole.height // 2))


@pytest.mark.parametrize("lost", ["the earlier", "the later", "both"])
@pytest.mark.parametrize(
    ("whole", "edited", "kind"),
    [
        (detailed(1), cropped, "edited_copy"),
        (detailed(1), smaller, "near_duplicate"),
        (detailed(1), smaller, "same_scene"),
        (drawn(4, (480, 360)), smaller, "near_duplicate"),  # in which no keypoint agrees
    ],
)
def test_what_was_seen_once_stays_where_it_can_not_be_looked_at_again(
    parts: Parts, lost: str, whole: Image.Image, edited: Callable[[Image.Image], Image.Image], kind: str
) -> None:
    pictures = parts.intake.pictures
    assert isinstance(pictures, LocalPictures)
    rows = []
    for claim_id, picture in (("A", whole), ("B", edited(whole))):
        upload = Upload("a.jpg", encoded(picture, quality=90))
        rows += [
            each.row for each in parts.intake.take(claim_id, [upload], client_id=None, labels={}).answers
        ]
    if kind == "same_scene":  # as if what hashes call near was seen to differ
        with parts.engine.begin() as connection:
            connection.execute(text("UPDATE match SET kind = 'same_scene', rank = 4"))
    before = every_match(parts)
    assert [match.kind for match in before] == [kind]
    assert before[0].evidence
    for row, name in zip(rows, ("the earlier", "the later"), strict=True):
        if lost in (name, "both"):
            pictures.files(row.image_id).rendition.unlink()
    screen(parts.engine, parts.intake.screening, [row.created_seq for row in rows])
    assert every_match(parts) == before


@pytest.mark.parametrize("number", [0, 1])
def test_what_was_seen_once_stays_while_keypoints_are_yet_to_be_found(parts: Parts, number: int) -> None:
    rows = []
    for claim_id, picture in (("A", detailed(1)), ("B", cropped(detailed(1)))):
        upload = Upload("a.jpg", encoded(picture, quality=90))
        rows += [
            each.row for each in parts.intake.take(claim_id, [upload], client_id=None, labels={}).answers
        ]
    before = every_match(parts)
    assert [match.kind for match in before] == ["edited_copy"]
    with parts.engine.begin() as connection:
        values = {"id": rows[number].id}
        connection.execute(text("UPDATE image SET keypoint_count = NULL WHERE id = :id"), values)
        connection.execute(
            text("DELETE FROM image_keypoints WHERE created_seq = :seq"), {"seq": rows[number].created_seq}
        )
    screen(parts.engine, parts.intake.screening, [row.created_seq for row in rows])
    assert every_match(parts) == before


def test_what_is_found_anew_takes_the_place_of_what_was_seen(parts: Parts) -> None:
    whole = detailed(1)
    for claim_id, picture in (("A", whole), ("B", whole.crop((60, 40, 560, 420)))):
        upload = Upload("a.jpg", encoded(picture, quality=90))
        [answer] = parts.intake.take(claim_id, [upload], client_id=None, labels={}).answers
    with parts.engine.begin() as connection:
        connection.execute(text("UPDATE match SET kind = 'same_scene', rank = 4, rule_version = 1"))
    screen(parts.engine, parts.intake.screening, [answer.row.created_seq])
    assert [match.kind for match in every_match(parts)] == ["edited_copy"]
    stranger = matches.NewMatch(
        earlier_id=every_match(parts)[0].earlier_id,
        later_id=answer.row.id,
        kind="same_pixels",
        rank=1,
        nearest=0,
        distances={},
        transform="identity",
        evidence={},
        rule_version=99,
    )
    with session.autocommit(parts.engine) as connection:
        up_to = answer.row.change_seq
        for found, kinds in (([stranger], ["same_pixels"]), ([], [])):
            blind_ids = [answer.row.id] if found else []
            matches.store_screening(connection, [answer.row.id], found, up_to=up_to, blind_ids=blind_ids)
            assert [match.kind for match in every_match(parts)] == kinds


def every_match(parts: Parts) -> Sequence[AnyRow]:
    with parts.engine.connect() as connection:
        return connection.execute(text("SELECT * FROM match ORDER BY id")).all()


class OutOfTime(Exception):
    pgcode = session.CANCELED


def test_an_image_that_can_not_be_compared_holds_up_none_after_it(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wholes = [Upload("a.jpg", encoded(detailed(seed))) for seed in range(3)]
    crops = [Upload("b.jpg", encoded(detailed(seed).crop((60, 40, 560, 420)))) for seed in range(3)]
    for claim_id, uploads in (("A", wholes), ("B", crops)):
        answers = parts.intake.take(claim_id, uploads, client_id=None, labels={}).answers
    rows = [answer.row for answer in answers]
    with parts.engine.begin() as connection:
        connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))

    def tripping(raised: Exception) -> object:
        def propose(_index: object, _query: object, _rule: object, *, before: int) -> dict[int, int]:
            if before == rows[1].created_seq:
                raise raised
            return {}

        return propose

    for bug in (ZeroDivisionError("a bug"), OperationalError("SELECT", {}, OutOfTime())):
        monkeypatch.setattr(screening, "propose", tripping(bug))
        with pytest.raises(type(bug)):
            screen_unanswered(parts.engine, parts.intake.screening, older_than_seconds=0)
        assert f"the stamp {rows[1].created_seq} can't be compared" in caplog.text
        assert [match.later_id for match in every_match(parts)] == [rows[0].id, rows[2].id]
        with parts.engine.begin() as connection:
            connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))
    for away in (OperationalError("SELECT", {}, Exception("gone")), StorageFull("full")):
        monkeypatch.setattr(screening, "propose", tripping(away))
        with pytest.raises(type(away)):
            screen_unanswered(parts.engine, parts.intake.screening, older_than_seconds=0)
        assert every_match(parts) == []
    monkeypatch.setattr(sweep, "MOST_FAILURES", 1)
    monkeypatch.setattr(screening, "propose", tripping(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        screen_unanswered(parts.engine, parts.intake.screening, older_than_seconds=0)
    assert [match.later_id for match in every_match(parts)] == [rows[0].id]
    with parts.engine.begin() as connection:
        connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))
    monkeypatch.undo()
    assert screen_unanswered(parts.engine, parts.intake.screening, older_than_seconds=0) == 6
    assert len(every_match(parts)) == 3


@pytest.mark.parametrize(("found", "together"), [(0, [4, 8, 16, 12]), (30, [4, 3, 3]), (1000, [4, 1, 1])])
def test_fewer_pictures_are_searched_for_together_the_more_is_found(
    monkeypatch: pytest.MonkeyPatch, found: int, together: list[int]
) -> None:
    asked: list[int] = []

    def near(_index: object, pictures: list[Keypoints], _radius: int) -> list[Hits]:
        asked.append(len(pictures))
        return [Hits.room(found)] * len(pictures)

    monkeypatch.setattr(partial_copies, "near", near)
    monkeypatch.setattr(partial_copies, "_ranked", lambda _hits, keypoints: keypoints)
    monkeypatch.setattr(partial_copies, "_MOST_HITS", 100)
    pictures = [Keypoints.from_bytes(b"", b"") for _ in range(40)]
    proposed = partial_copies.propose_earlier(SimpleNamespace(index=None), pictures, [1] * 40)  # type: ignore[arg-type]
    assert [id(each) for each in proposed] == [id(each) for each in pictures]
    assert asked[: len(together)] == together
    assert sum(asked) == 40


@pytest.mark.parametrize("times", [1, 99])
def test_an_image_that_changes_while_it_is_screened_is_told_no_less(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    candidates, left = images.earlier_candidates, iter(range(times))

    def changed_meanwhile(
        connection: Connection, rows: Sequence[AnyRow], proposed: Any
    ) -> list[list[AnyRow]]:
        if any(proposed) and next(left, None) is not None:
            with parts.engine.begin() as other:  # as a rehash by another version of a library does
                other.execute(text("UPDATE image SET phash = phash # 1 WHERE claim_id = 'B'"))
        return candidates(connection, rows, proposed)

    parts.intake.take("A", [Upload("a.jpg", encoded(detailed(1)))], client_id=None, labels={})
    monkeypatch.setattr(images, "earlier_candidates", changed_meanwhile)
    crop = Upload("b.jpg", encoded(detailed(1).crop((60, 40, 560, 420))))
    if times > 1:
        with pytest.raises(Unavailable, match="changed"):
            parts.intake.take("B", [crop], client_id=None, labels={})
        return
    [answer] = parts.intake.take("B", [crop], client_id=None, labels={}).answers
    assert answer.verdict == "edited_copy"


def test_text_that_is_better_laid_as_a_whole_stays_text() -> None:
    whole = of_whole("identity", (80, 100), (80, 100))
    text_part, noisy = replace(whole, score=0.4, page=True), replace(whole, score=0.3)
    better = partial_copies._better(text_part, whole)
    assert better is not None
    assert (better.score, better.page) == (1.0, True)
    assert partial_copies._better(text_part, noisy) is text_part
    assert partial_copies._better(None, noisy) is noisy
    assert partial_copies._better(text_part, None) is text_part
