"""Copies of a part of a picture, through the API: found, explained, drawn, and forgotten with their images."""

import io
import json
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont, ImageOps
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app import partial_copies
from app.jobs.fill import ask_for_fill
from app.jobs.sweep import screen_unanswered
from app.parts import Parts
from tests.pictures import drawn, encoded, photo
from tests.web.api import assert_problem, finished, upload, uploaded


def crop() -> Image.Image:
    """A third of the photo, mirrored: nothing that whole-image hashes find."""
    return ImageOps.mirror(photo().crop((150, 20, 450, 320)))


def pasted() -> Image.Image:
    """The photo, small and turned, on something else."""
    page = Image.new("RGB", (800, 600), (235, 235, 230))
    page.paste(photo("coffee").resize((400, 600)), (400, 0))
    small = (
        photo()
        .resize((300, 300))
        .rotate(12, Image.Resampling.BICUBIC, expand=True, fillcolor=(235, 235, 230))
    )
    page.paste(small, (20, 120))
    return page


def on_a_screen(shown: Image.Image) -> Image.Image:
    """A picture in the middle of much else, which is the same around all."""
    screen = photo("coffee").resize((640, 640))
    screen.paste(shown.resize((420, 360)), (110, 140))
    return screen


def kinds(image: dict[str, Any]) -> dict[str, str]:
    return {match["claim_id"]: match["kind"] for match in image["matches"]}


@pytest.mark.parametrize("edit", [crop, pasted, lambda: ImageOps.invert(crop())])
def test_an_edited_copy_of_a_part_is_found_in_another_claim(client: TestClient, edit: Any) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    answer = upload(client, "KD-2", encoded(edit(), quality=80)).json()
    assert answer["duplicate"]
    (image,) = answer["images"]
    assert image["verdict"] == "edited_copy"
    assert kinds(image) == {"KD-1": "edited_copy"}
    assert image["matches"][0]["image_id"] == first["image_id"]


def test_evidence_says_where_the_copy_was_cut_out_seen_from_both_sides(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    (match,) = uploaded(client, "KD-2", encoded(crop()))["matches"]
    evidence = match["evidence"]
    assert (evidence["mirrored"], evidence["negative"]) == (True, False)
    assert match["transform"] == "mirror"
    assert evidence["angle"] == pytest.approx(0, abs=0.5)
    assert evidence["score"] > 0.9
    np.testing.assert_allclose(
        sorted(evidence["found_region"]), [[150, 20], [150, 320], [450, 20], [450, 320]], atol=2
    )
    (back,) = client.get(f"/images/{first['image_id']}/matches").json()["matches"]
    assert back["evidence"]["region"] == evidence["found_region"]
    assert back["evidence"]["scale"] == pytest.approx(1 / evidence["scale"], rel=0.02)
    assert back["match_id"] == match["match_id"]


def test_the_overlay_is_a_picture_for_quality_control(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    (match,) = uploaded(client, "KD-2", encoded(crop()))["matches"]
    response = client.get(f"/matches/{match['match_id']}/overlay.png")
    assert response.headers["content-type"] == "image/png"
    assert response.headers["cache-control"] == "private, no-store"
    assert Image.open(io.BytesIO(response.content)).width > 512


def test_the_overlay_of_a_whole_copy_needs_no_keypoints(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    (match,) = uploaded(client, "KD-2", encoded(photo()))["matches"]
    assert match["kind"] == "same_file"
    assert client.get(f"/matches/{match['match_id']}/overlay.png").status_code == 200


def test_there_is_no_overlay_of_a_match_that_is_not_there(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    (match,) = uploaded(client, "KD-2", encoded(crop()))["matches"]
    client.delete(f"/images/{first['image_id']}")
    for match_id in (match["match_id"], "6f8a7a52-8a0e-4a0b-b7a6-7a7d3a3b8f10", "nothing"):
        assert_problem(client.get(f"/matches/{match_id}/overlay.png"), 404)


def test_what_is_deleted_is_not_found_any_more(client: TestClient, engine: Engine) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    client.delete(f"/images/{first['image_id']}")
    assert uploaded(client, "KD-2", encoded(crop()))["matches"] == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image_keypoints")).scalar_one() == 1


def test_another_picture_with_the_same_logo_is_no_copy(client: TestClient) -> None:
    def with_logo(picture: Image.Image) -> Image.Image:
        marked = picture.copy()
        draw = ImageDraw.Draw(marked)
        draw.rectangle((10, 10, 130, 60), fill="white", outline="black", width=3)
        for number, word in enumerate(("ACME", "insurance", "since 1890")):
            draw.text((20, 13 + 15 * number), word, fill="navy")
        return marked

    uploaded(client, "KD-1", encoded(with_logo(photo())))
    answer = upload(client, "KD-2", encoded(with_logo(photo("coffee")))).json()
    assert not answer["duplicate"]


def in_an_app(picture: Image.Image) -> Image.Image:
    """A picture on a screen of a program, below its title, between words and buttons."""
    screen = Image.new("RGB", (480, 900), (236, 229, 221))
    draw = ImageDraw.Draw(screen)
    draw.rectangle((0, 0, 480, 110), (7, 94, 84))
    draw.ellipse((20, 30, 80, 90), (180, 200, 195))
    for number, words in enumerate(("Claims Desk of Example Mutual", "online, answers within an hour")):
        draw.text((100, 30 + 32 * number), words, "white", ImageFont.load_default(22))
    for number, words in enumerate(("Can you send us a picture?", "Please, all of the appliance.")):
        draw.rounded_rectangle((20, 130 + 60 * number, 400, 180 + 60 * number), 12, "white")
        draw.text((36, 142 + 60 * number), words, "black", ImageFont.load_default(22))
    screen.paste(picture.resize((300, 300)), (160, 270))
    draw.rounded_rectangle((20, 600, 430, 650), 12, "white")
    draw.text((36, 612), "Oh no! How did that happen?", "black", ImageFont.load_default(22))
    for number, word in enumerate(("Reply", "Forward", "Archive")):
        draw.rectangle((20 + 155 * number, 820, 150 + 155 * number, 880), "white", "black", 3)
        draw.text((36 + 155 * number, 834), word, "black", ImageFont.load_default(26))
    return screen


def test_two_pictures_on_screens_of_one_program_do_not_match_and_one_picture_on_two_does(
    client: TestClient,
) -> None:
    first = uploaded(client, "KD-1", encoded(in_an_app(photo())))
    other = upload(client, "KD-2", encoded(in_an_app(photo("coffee")))).json()
    assert not other["duplicate"]
    assert other["images"][0]["matches"] == []
    again = uploaded(client, "KD-3", encoded(photo(), quality=80))
    assert [match["image_id"] for match in again["matches"]] == [first["image_id"]]
    assert again["verdict"] == "edited_copy"


def test_similar_finds_the_photo_that_a_crop_was_cut_from(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    uploaded(client, "KD-2", encoded(photo("coffee")))
    params = {"hash": "keypoints", "orientations": "all"}
    answer = client.post("/similar", params=params, files={"file": ("crop.jpg", encoded(crop()))}).json()
    (found,) = answer["matches"]
    assert found["image_id"] == first["image_id"]
    assert found["evidence"]["mirrored"]
    assert 0 <= found["distance"] <= 12
    stored = uploaded(client, "KD-3", encoded(crop()))
    again = client.get("/similar", params=params | {"image_id": stored["image_id"]}).json()
    assert [match["image_id"] for match in again["matches"]] == [first["image_id"]]
    as_stored = client.get("/similar", params={"hash": "keypoints", "image_id": stored["image_id"]}).json()
    assert as_stored["total"] == 0  # it is a mirror image


def test_similar_by_keypoints_chooses_among_the_images_that_are_meant(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_copies, "MOST_COMPARED", 1)
    plants = ["A", "A", "B", "A"]
    for number, plant in enumerate(plants):
        data = encoded(photo(), quality=60 + 5 * number)
        upload(client, f"KD-{number}", data, labels=json.dumps({"plant": plant}))
    for plant, wanted in (("A", {"KD-0", "KD-1", "KD-3"}), ("B", {"KD-2"}), ("C", set())):
        params = {"hash": "keypoints", "orientations": "all", "labels": json.dumps({"plant": plant})}
        answer = client.post("/similar", params=params, files={"file": ("crop.jpg", encoded(crop()))}).json()
        assert {match["claim_id"] for match in answer["matches"]} <= wanted
        assert bool(answer["matches"]) == bool(wanted)
        assert {match["kind"] for match in answer["matches"]} <= {"edited_copy"}


def test_images_from_before_there_were_keypoints_are_matched_once_a_job_has_found_them(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    assert first["parts_pending"] == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET keypoint_count = NULL; DELETE FROM image_keypoints"))
    second = uploaded(client, "KD-2", encoded(crop()))
    assert second["matches"] == []
    assert second["parts_pending"] == 1
    assert uploaded(client, "KD-2", encoded(crop()))["parts_pending"] == 1  # the same bytes once more
    params = {"hash": "keypoints", "image_id": second["image_id"]}
    assert_problem(client.get("/similar", params=params), 503)
    ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["rescreened"] == 2
    shown = client.get(f"/images/{second['image_id']}").json()
    assert kinds(shown) == {"KD-1": "edited_copy"}
    assert shown["matches"][0]["image_id"] == first["image_id"]
    assert uploaded(client, "KD-2", encoded(crop()))["parts_pending"] == 0


def test_an_image_screened_by_the_sweep_has_the_matches_that_the_upload_would_have_told(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    second = uploaded(client, "KD-2", encoded(crop()))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))
    assert screen_unanswered(engine, parts.intake.screening, older_than_seconds=0) == 2
    shown = client.get(f"/images/{second['image_id']}").json()
    assert kinds(shown) == {"KD-1": "edited_copy"}


def test_a_picture_that_everybody_sends_is_told_to_be_a_hub(client: TestClient) -> None:
    for number in range(20):
        image = uploaded(client, f"KD-{number}", encoded(photo(), quality=70 + number))
    assert (image["hub"], len(image["matches"])) == (None, 19)
    uploaded(client, "KD-20", encoded(photo(), quality=60))
    image = uploaded(client, "KD-21", encoded(crop()))
    assert (image["hub"], len(image["matches"]), image["matches_total"]) == (21, 10, 21)
    assert image["verdict"] == "edited_copy"
    listed = client.get(f"/images/{image['image_id']}/matches").json()
    assert len(listed["matches"]) == 21


def test_as_many_parts_are_laid_on_a_picture_as_match(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_copies, "MOST_EXAMINED", 2)
    monkeypatch.setattr(partial_copies, "MOST_COMPARED", 3)
    for number in range(7):
        uploaded(client, f"KD-{number}", encoded(photo(), quality=70 + number))
    image = uploaded(client, "KD-8", encoded(crop()))
    assert (image["matches_total"], image["verdict"]) == (7, "edited_copy")
    monkeypatch.setattr(partial_copies, "MOST_OF_A_HUB", 4)
    assert uploaded(client, "KD-9", encoded(crop(), quality=60))["matches_total"] == 5 + 1  # and KD-8's


def test_a_picture_is_found_in_a_layout_that_many_share(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two are laid, and all that is around the picture speaks for more of its like than the picture does for itself.
    monkeypatch.setattr(partial_copies, "MOST_EXAMINED", 2)
    uploaded(client, "KD-0", encoded(photo("rocket")))
    for number, name in enumerate(("astronaut", "chelsea", "clock"), 1):
        image = uploaded(client, f"KD-{number}", encoded(on_a_screen(photo(name))))
        assert image["verdict"] == "none"
    data = encoded(on_a_screen(photo("rocket")))
    image = uploaded(client, "KD-9", data)
    assert kinds(image) == {"KD-0": "edited_copy"}
    similar = client.post("/similar", params={"hash": "keypoints"}, files={"file": data}).json()
    assert {match["claim_id"] for match in similar["matches"]} == {"KD-0", "KD-9"}


def test_a_logo_in_two_corners_makes_no_copy(client: TestClient) -> None:
    logo = photo("coffee").resize((150, 100))
    for number, (seed, corner) in enumerate([(1, (15, 15)), (2, (475, 365)), (3, (475, 15))]):
        page = drawn(seed, (640, 480))
        page.paste(logo, corner)
        image = uploaded(client, f"KD-{number}", encoded(page))
        assert "edited_copy" not in kinds(image).values()
    image = uploaded(client, "KD-9", encoded(photo("coffee")))
    assert set(kinds(image).values()) <= {"edited_copy"}  # it is in all three as a whole


@pytest.mark.parametrize("some_differ", [False, True])
def test_wholes_that_are_alike_are_laid_on_each_other_as_long_as_some_differ(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, some_differ: bool
) -> None:
    monkeypatch.setattr(partial_copies, "MOST_KNOWN", 1)
    monkeypatch.setattr(partial_copies, "differs", lambda *_: some_differ)
    for number in range(4):
        image = uploaded(client, f"KD-{number}", encoded(photo(), quality=70 + number))
    assert [match["kind"] for match in image["matches"]] == 3 * ["near_duplicate"]
    assert sum(match["evidence"] is not None for match in image["matches"]) == (3 if some_differ else 1)


def test_an_image_whose_picture_is_lost_does_not_stop_the_others(
    client: TestClient, parts: Parts, engine: Engine
) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    parts.pictures.files(UUID(first["image_id"])).rendition.unlink()
    answer = upload(client, "KD-2", encoded(crop())).json()
    assert answer["images"][0]["verdict"] == "same_scene"  # there is nothing to lay it on
    assert not answer["duplicate"]
    uploaded(client, "KD-3", encoded(photo(), quality=50))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM match; UPDATE image SET screened_at = NULL"))
    assert screen_unanswered(engine, parts.intake.screening, older_than_seconds=0) == 3
    shown = client.get("/claims/KD-3/images").json()["images"][0]
    assert kinds(shown) == {"KD-1": "near_duplicate", "KD-2": "edited_copy"}


# Families of copies.


def clustered(client: TestClient, **asked: Any) -> Any:
    response = client.post("/clusters", json={"fingerprint": "keypoints"} | asked)
    assert response.status_code == 202, response.text
    job = finished(client, response.json()["job_id"])
    assert job["state"] == "succeeded", job
    return job["result"]


def members(client: TestClient, cluster_id: str) -> dict[str, int]:
    answer = client.get(f"/clusters/{cluster_id}").json()
    return {member["claim_id"]: member["distance"] for member in answer["members"]}


def test_copies_of_one_picture_are_a_cluster_however_edited(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    uploaded(client, "KD-2", encoded(crop()))
    uploaded(client, "KD-3", encoded(pasted()))
    uploaded(client, "KD-4", encoded(photo("chelsea")))
    result = clustered(client)
    assert (result["clusters"], result["images"], result["outside"]) == (1, 4, 1)
    (found,) = client.get("/clusters").json()["clusters"]
    assert found["medoid"] == first["image_id"]
    assert found["cohesion"] is None
    assert members(client, found["cluster_id"]) == {"KD-1": 0, "KD-2": 1, "KD-3": 1}
    assert client.get(f"/clusters/{found['cluster_id']}/sheet.png").status_code == 200
    # The next run carries its id on.
    uploaded(client, "KD-5", encoded(ImageOps.flip(photo())))
    assert clustered(client)["ended"] == 0
    (after,) = client.get("/clusters").json()["clusters"]
    assert after["cluster_id"] == found["cluster_id"]
    assert after["found"]["images"] == 4


def test_a_family_is_of_the_images_that_are_meant_and_there(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    uploaded(client, "KD-2", encoded(crop()))
    assert clustered(client, labels={"product": "fridge"})["clusters"] == 0
    assert client.delete(f"/images/{first['image_id']}").status_code == 204
    assert clustered(client)["clusters"] == 0


def test_while_all_is_compared_anew_families_are_as_they_were(client: TestClient, engine: Engine) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    uploaded(client, "KD-2", encoded(crop()))
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET screened_at = NULL"))
    result = clustered(client)
    assert (result["clusters"], result["left_out"]) == (1, {"not_compared_yet": 2})


def test_what_only_shows_the_same_scene_is_in_no_family(client: TestClient, engine: Engine) -> None:
    uploaded(client, "KD-1", encoded(photo()))
    uploaded(client, "KD-2", encoded(crop()))
    with engine.begin() as connection:
        connection.execute(text("UPDATE match SET kind = 'same_scene', rank = 4"))
    assert clustered(client)["clusters"] == 0


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"linkage": "medoid"}, "linkage"),
        ({"max_distance": 4}, "max_distance"),
        ({"looseness": "tight"}, "looseness"),
    ],
)
def test_clusters_by_keypoints_have_no_distance(
    client: TestClient, asked: dict[str, Any], field: str
) -> None:
    response = client.post("/clusters", json={"fingerprint": "keypoints"} | asked)
    assert_problem(response, 422, field)
