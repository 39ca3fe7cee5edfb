import datetime as dt
import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError
from starlette.testclient import TestClient

from app.fingerprints.orientation import TRANSFORMS, turn
from app.jobs import keeper
from app.jobs.sweep import scan_outgrown
from app.parts import Parts
from tests.pictures import drawn, encoded, photo, surface
from tests.rows import insert_rows
from tests.web import test_jobs
from tests.web.api import assert_problem, finished, upload, uploaded

DAMAGE = {"x": 160, "y": 120, "width": 240, "height": 240}
ELSEWHERE = {"x": 400, "y": 0, "width": 240, "height": 240}
SECONDS = 20.0


def scene(seed: int = 5, *, at: tuple[int, int] = (160, 120), ground: int = 100) -> Image.Image:
    """A coarse surface with some damage on it, 240 pixels wide: another seed, another damage."""
    picture = surface(ground, (640, 480), period=23)
    picture.paste(surface(seed, (240, 240), period=5 + seed % 7), at)
    return picture


def damage() -> Image.Image:
    """The damage of `scene` alone."""
    return scene().crop((160, 120, 400, 360))


def post(client: TestClient, picture: Image.Image | bytes | None = None, **fields: Any) -> Any:
    """Make a template of the damage in `scene`, or of another picture; fields that are no text are sent as JSON."""
    fields = {"name": "damage"} | ({"region": DAMAGE} if picture is None else {}) | fields
    data = picture if isinstance(picture, bytes) else encoded(picture or scene(), "PNG")
    return client.post(
        "/templates",
        files={"file": ("template.png", data)},
        data={name: each if isinstance(each, str) else json.dumps(each) for name, each in fields.items()},
    )


def made(client: TestClient, picture: Image.Image | bytes | None = None, **fields: Any) -> str:
    """Make one, have it compared with all images; its id."""
    response = post(client, picture, **fields)
    assert response.status_code == 201, response.text
    template_id: str = response.json()["template_id"]
    until_compared(client, template_id)
    return template_id


def until_compared(client: TestClient, template_id: str) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (shown := client.get(f"/templates/{template_id}").json())["compared"]:
        assert time.monotonic() < deadline, shown
        time.sleep(0.05)
    return shown


def patched(client: TestClient, template_id: str, **changes: Any) -> Any:
    response = client.patch(f"/templates/{template_id}", json=changes)
    assert response.status_code == 200, response.text
    return response.json()


def matches(client: TestClient, template_id: str, **params: Any) -> Any:
    """All that `/matches` says; waits while it asks to be asked again."""
    deadline = time.monotonic() + SECONDS
    while True:
        response = client.get(f"/templates/{template_id}/matches", params=params)
        if response.status_code == 200:
            return response.json()
        assert response.status_code == 503, response.text
        assert int(response.headers["retry-after"]) > 0
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ids(found: Any) -> list[str]:
    return [each["image_id"] for each in found["matches"]]


def shows(image: Any, template_id: str) -> Any:
    """What an image says of a template; None: nothing."""
    return next((each for each in image["templates"] if each["template_id"] == template_id), None)


def labelled(client: TestClient, claim: str, picture: Image.Image, **labels: Any) -> str:
    response = upload(client, claim, encoded(picture, "PNG"), labels=json.dumps(labels))
    assert response.status_code == 201, response.text
    image_id: str = response.json()["images"][0]["image_id"]
    return image_id


@pytest.fixture
def no_scans(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Nobody compares templates with images that were there before, until this is called."""
    monkeypatch.setattr(keeper, "ask_again", lambda *_: None)
    monkeypatch.setattr("app.web.templates.ask_for_scan", lambda *_: None)
    return monkeypatch.undo


def test_new_template_is_stored_and_compared(client: TestClient) -> None:
    for claim, picture in (("KD-1", scene()), ("KD-2", scene(6))):
        uploaded(client, claim, encoded(picture, "PNG"))
    response = post(client, name="housing, scratched ü")
    assert response.status_code == 201
    new = response.json()
    assert response.headers["location"] == f"/templates/{new['template_id']}"
    shown = until_compared(client, new["template_id"])
    assert shown["compared_images"] == 2
    assert shown["found"]["images"] == shown["found"]["claims"] == 1
    assert shown["found"]["first_day"] == shown["found"]["last_day"] is not None
    assert client.get(f"/jobs/{new['job_id']}").json()["kind"] == "templates"
    before = {"compared": False, "compared_images": None, "found": new["found"], "job_id": new["job_id"]}
    assert shown | before == new
    assert shown["job_id"] is None
    assert (new["name"], new["fingerprint"], new["max_distance"], new["enabled"]) == (
        "housing, scratched ü",
        "pattern",
        120,
        True,
    )
    # Of the picture of 512 that is kept.
    assert (new["width"], new["height"]) == (512, 384)
    assert new["region"] == {"x": 128, "y": 96, "width": 192, "height": 192}


@pytest.mark.parametrize("at", [(160, 120), (10, 10), (390, 230)])
def test_upload_that_shows_a_template_carries_it_with_its_place(
    client: TestClient, at: tuple[int, int]
) -> None:
    template_id = made(client)
    image = uploaded(client, "KD-1", encoded(scene(at=at), quality=85))
    (found,) = image["templates"]
    assert found["template_id"] == template_id
    assert found["name"] == "damage"
    assert found["distance"] <= 120
    assert found["chance"] is None
    # Half of the place that was found, or more, is the damage, in pixels of the rendition.
    region, left, top = found["region"], *(0.8 * side for side in at)
    across = min(region["x"] + region["width"], left + 192) - max(region["x"], left)
    down = min(region["y"] + region["height"], top + 192) - max(region["y"], top)
    assert min(across, down) > 0
    assert across * down > 0.5 * region["width"] * region["height"]
    assert min(region["x"], region["y"]) >= 0
    assert region["x"] + region["width"] <= 512
    assert region["y"] + region["height"] <= 384
    assert client.get(f"/images/{image['image_id']}").json()["templates"] == [found]
    listed = client.get("/claims/KD-1/images").json()["images"][0]
    assert listed["templates"] == [found]
    (match,) = matches(client, template_id)["matches"]
    assert {name: match[name] for name in ("distance", "region", "chance")} == {
        name: found[name] for name in ("distance", "region", "chance")
    }
    assert (match["image_id"], match["claim_id"], match["transform"]) == (image["image_id"], "KD-1", None)


def test_a_template_is_answered_with_though_the_database_is_away_once_it_is_stored(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A 503 would have it sent again, and made twice."""

    def away(*_given: object) -> Any:
        raise OperationalError("SELECT", {}, Exception("server closed the connection"))

    with monkeypatch.context() as patch:
        patch.setattr("app.web.templates.ask_for_scan", away)
        patch.setattr("app.web.templates.session.reading", away)
        response = post(client)
    assert response.status_code == 201, response.text
    new = response.json()
    assert (new["compared"], new["job_id"], new["found"]["images"]) == (False, None, 0)
    listed = client.get("/templates").json()
    assert (listed["total"], listed["templates"][0]["created_at"]) == (1, new["created_at"])


def test_upload_that_shows_no_template_carries_none(client: TestClient) -> None:
    template_id = made(client)
    image = uploaded(client, "KD-1", encoded(scene(6), "PNG"))
    assert image["templates"] == []
    assert client.get(f"/images/{image['image_id']}").json()["templates"] == []
    found = matches(client, template_id)
    assert (found["total"], found["matches"], found["next_cursor"]) == (0, [], None)


def test_upload_lists_the_nearest_template_first(client: TestClient) -> None:
    far = made(client, name="far", max_distance=512)
    near = made(client, scene(6, at=(0, 0)).crop((0, 0, 240, 240)), name="near")
    image = uploaded(client, "KD-1", encoded(scene(6), "PNG"))
    assert [each["template_id"] for each in image["templates"]] == [near, far]
    distances = [each["distance"] for each in image["templates"]]
    assert distances == sorted(distances)


def test_template_made_after_the_upload_finds_it_as_the_upload_would_have(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    before = client.get(f"/images/{image['image_id']}").json()
    assert image["templates"] == before["templates"] == []
    template_id = made(client)
    (found,) = matches(client, template_id)["matches"]
    after = client.get(f"/images/{image['image_id']}").json()
    again = uploaded(client, "KD-2", encoded(scene(), "PNG"))
    assert shows(after, template_id) == shows(again, template_id)
    assert shows(after, template_id)["distance"] == found["distance"]


def test_matches_ask_for_patience_until_all_images_are_compared(
    client: TestClient, no_scans: Callable[[], None]
) -> None:
    uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = post(client).json()["template_id"]
    response = client.get(f"/templates/{template_id}/matches")
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) > 0
    assert client.get(f"/templates/{template_id}").json()["compared"] is False
    # Uploads meanwhile are compared all the same.
    new = uploaded(client, "KD-2", encoded(scene(ground=101), "PNG"))
    assert shows(new, template_id)
    no_scans()
    assert matches(client, template_id)["total"] == 2


def test_surfaces_of_low_information_are_found_by_their_pattern(client: TestClient) -> None:
    before = uploaded(client, "KD-1", encoded(surface(5, (640, 480), period=6), "PNG"))
    assert before["status"] == "low_information"
    whole = surface(5, (640, 480), period=6)
    template_id = made(client, whole, region=DAMAGE)
    after = uploaded(client, "KD-2", encoded(whole.crop((0, 0, 630, 472)), "PNG"))
    assert after["status"] == "low_information"
    assert shows(after, template_id)
    assert set(ids(matches(client, template_id))) == {before["image_id"], after["image_id"]}


def test_blank_images_are_found_by_no_template(client: TestClient) -> None:
    before = uploaded(client, "KD-1", encoded(Image.new("RGB", (300, 200), "grey")))
    template_id = made(client)
    by_colour = made(client, photo(), fingerprint="colorhash", max_distance=98)
    after = uploaded(client, "KD-2", encoded(Image.new("RGB", (300, 200), "grey")))
    assert after["templates"] == []
    assert client.get(f"/images/{before['image_id']}").json()["templates"] == []
    assert matches(client, template_id)["total"] == matches(client, by_colour)["total"] == 0


@pytest.mark.parametrize("image_first", [True, False])
def test_turned_pictures_are_found_by_a_hash_of_the_whole(client: TestClient, image_first: bool) -> None:
    hashes = ("phash", "dhash", "ahash", "whash", "whash_db4")

    def upload_all() -> dict[str, str]:
        return {
            uploaded(client, "KD-1", encoded(turn(photo("coffee"), name), "PNG"))["image_id"]: name
            for name in TRANSFORMS
        }

    images = upload_all() if image_first else {}
    template_ids = [made(client, photo("coffee"), fingerprint=name, max_distance=4) for name in hashes]
    images = images or upload_all()
    assert uploaded(client, "KD-2", encoded(photo("rocket")))["templates"] == []
    for template_id in template_ids:
        found = matches(client, template_id)["matches"]
        # The name of what turns the template into the image.
        assert {each["image_id"]: each["transform"] for each in found} == images
        assert all(each["distance"] <= 4 and each["region"] is None for each in found)


def test_a_region_is_compared_with_whole_pictures_by_their_hash(client: TestClient) -> None:
    picture = Image.new("RGB", (900, 700), "white")
    picture.paste(photo("coffee"), (200, 50))
    box = {"x": 200, "y": 50, "width": photo("coffee").width, "height": photo("coffee").height}
    template_id = made(client, picture, fingerprint="phash", region=box)
    image = uploaded(client, "KD-1", encoded(photo("coffee"), quality=60))
    assert shows(image, template_id)
    assert not shows(uploaded(client, "KD-2", encoded(picture, "PNG")), template_id)


def test_pictures_of_like_colours_are_found_by_colorhash(client: TestClient) -> None:
    before = uploaded(client, "KD-1", encoded(photo("coffee").resize((300, 200))))
    template_id = made(client, photo("coffee"), fingerprint="colorhash")
    after = uploaded(client, "KD-2", encoded(turn(photo("coffee"), "rotate_90")))
    assert shows(after, template_id)["region"] is None
    assert not shows(uploaded(client, "KD-3", encoded(photo("rocket"))), template_id)
    found = matches(client, template_id)["matches"]
    assert {each["image_id"] for each in found} == {before["image_id"], after["image_id"]}
    assert {each["transform"] for each in found} == {None}


@pytest.mark.parametrize("image_first", [True, False])
def test_a_region_is_found_by_keypoints_wherever_and_however_it_is(
    client: TestClient, image_first: bool
) -> None:
    print_on_it = {"x": 150, "y": 100, "width": 240, "height": 200}  # of `photo("coffee")`
    corner = (300, 220)

    def pasted(turned: str, *, negative: bool) -> Image.Image:
        cut = photo("coffee").crop((150, 100, 390, 300))
        cut = turn(ImageOps.invert(cut) if negative else cut, turned)
        ground = photo("rocket").copy()
        ground.paste(cut, corner)
        return ground

    def upload_all() -> dict[str, str]:
        return {
            uploaded(client, "KD-1", encoded(pasted(name, negative=negative)))["image_id"]: name
            for name in TRANSFORMS
            for negative in (False, True)
        }

    images = upload_all() if image_first else {}
    template_id = made(client, photo("coffee"), fingerprint="keypoints", region=print_on_it)
    images = images or upload_all()
    assert uploaded(client, "KD-2", encoded(photo("rocket")))["templates"] == []
    found = matches(client, template_id)["matches"]
    assert {each["image_id"]: each["transform"] for each in found} == images
    across, down = 512 / photo("rocket").width, 512 / photo("rocket").width
    for each in found:
        assert each["distance"] <= client.get(f"/templates/{template_id}").json()["max_distance"] == 6
        box, upright = each["region"], each["transform"] in {"identity", "mirror", "flip", "rotate_180"}
        wide, high = (240, 200) if upright else (200, 240)
        expected = (corner[0] * across, corner[1] * down, wide * across, high * down)
        assert np.abs(np.subtract(list(box.values()), expected)).max() < 32
        assert each["chance"] is None
        shown = client.get(f"/images/{each['image_id']}").json()
        assert shows(shown, template_id)["region"] == box


def test_a_picture_without_keypoints_can_be_no_template_by_them(client: TestClient, parts: Parts) -> None:
    smooth = Image.linear_gradient("L").resize((640, 480)).convert("RGB")
    assert_problem(post(client, smooth, fingerprint="keypoints"), 422, "file")
    corner = {"x": 0, "y": 0, "width": 12, "height": 12}
    assert_problem(post(client, photo(), fingerprint="keypoints", region=corner), 422, "region")
    assert not list(parts.template_pictures.root.glob("*/*"))


def test_a_region_is_of_the_upright_picture_whatever_exif_says(client: TestClient) -> None:
    upright = scene()
    plain = post(client).json()
    # What a viewer does to the stored pixels, undone, for orientations 1 to 8.
    undo = ("identity", "mirror", "rotate_180", "flip", "transpose", "rotate_90", "transverse", "rotate_270")
    made_of = {}
    for orientation, transform in enumerate(undo, start=1):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        stored = encoded(turn(upright, transform), "PNG", exif=exif)
        here, elsewhere = (post(client, stored, region=region).json() for region in (DAMAGE, ELSEWHERE))
        made_of[orientation] = here["template_id"], elsewhere["template_id"]
        assert (here["width"], here["height"], here["region"]) == (512, 384, plain["region"])
        content = client.get(f"/templates/{here['template_id']}/content").content
        with Image.open(io.BytesIO(content)) as shown:
            difference = np.asarray(shown.convert("L"), float) - np.asarray(upright.resize((512, 384)), float)
        assert np.abs(difference).mean() < 12
    on_another_ground = surface(9, (640, 480), period=13)
    on_another_ground.paste(damage(), (160, 120))
    image = uploaded(client, "KD-1", encoded(on_another_ground, "PNG"))
    distance = shows(image, plain["template_id"])["distance"]
    for here_id, elsewhere_id in made_of.values():
        # Shrinking rows before columns, or after, rounds otherwise.
        assert abs(shows(image, here_id)["distance"] - distance) < 12
        assert not shows(image, elsewhere_id)


@pytest.mark.parametrize(
    "box", [(0, 0, 240, 240), (400, 240, 240, 240), (0, 240, 640, 240), (0, 0, 640, 480)]
)
def test_a_region_may_touch_the_border(client: TestClient, box: tuple[int, int, int, int]) -> None:
    x, y, width, height = box
    response = post(client, region={"x": x, "y": y, "width": width, "height": height})
    assert response.status_code == 201, response.text
    region = response.json()["region"]
    assert region["x"] + region["width"] == round((x + width) * 0.8)
    assert region["y"] + region["height"] == round((y + height) * 0.8)


def box(**other: Any) -> Any:
    return DAMAGE | other


WRONG_FIELDS = [
    ({"name": ""}, "name"),
    ({"name": "x" * 121}, "name"),
    ({"name": "a\0b"}, "name"),
    ({"name": "a\nb"}, "name"),
    ({"fingerprint": "sift"}, "fingerprint"),
    ({"fingerprint": "segments"}, "fingerprint"),
    ({"max_distance": "many"}, "max_distance"),
    ({"max_distance": -1}, "max_distance"),
    ({"max_distance": 513}, "max_distance"),
    ({"max_distance": 65, "fingerprint": "phash"}, "max_distance"),
    ({"max_distance": 99, "fingerprint": "colorhash"}, "max_distance"),
    ({"max_distance": 13, "fingerprint": "keypoints"}, "max_distance"),
    ({"max_distance": 1.5}, "max_distance"),
    ({"max_distance": True}, "max_distance"),
    ({"max_distance": None}, "max_distance"),
    ({"max_distance": 10**400}, "max_distance"),
    ({"max_distance": "1e400"}, "max_distance"),
    ({"enabled": "yes"}, "enabled"),
    ({"enabled": 1}, "enabled"),
    ({"enabled": None}, "enabled"),
    ({"region": "all"}, "region"),
    ({"region": "[" * 60_000}, "region"),
    ({"region": '{"x": NaN, "y": 0, "width": 9, "height": 9}'}, "region"),
    ({"region": '{"\\ud800": 1}'}, "region"),
    ({"region": [0, 0, 100, 100]}, "region"),
    ({"region": {"x": 0, "y": 0, "width": 100}}, "region"),
    ({"region": box(depth=3)}, "region"),
    ({"region": box(x=1.5)}, "region"),
    ({"region": box(x="160")}, "region"),
    ({"region": box(x=True)}, "region"),
    ({"region": box(x=-1)}, "region"),
    ({"region": box(width=0)}, "region"),
    ({"region": box(width=10**400)}, "region"),
    ({"region": box(x=401)}, "region"),
    ({"region": box(y=241)}, "region"),
    ({"region": box(width=59)}, "region"),
    ({"region": box(height=1)}, "region"),
    ({"region": box(width=1, height=1), "fingerprint": "phash"}, "region"),
    ({"colour": "red"}, "colour"),
]


def test_a_field_that_is_wrong_is_named(client: TestClient, parts: Parts) -> None:
    for fields, field in WRONG_FIELDS:
        assert_problem(post(client, **fields), 422, field)
    assert client.get("/templates").json()["total"] == 0
    assert not list(parts.template_pictures.root.glob("*/*"))


def test_a_form_without_name_or_file_or_with_more_of_them_is_refused(client: TestClient) -> None:
    data = encoded(scene(), "PNG")
    file = ("file", ("a.png", data))
    assert_problem(client.post("/templates", files=[file]), 422, "name")
    assert_problem(client.post("/templates", files={"x": ("", b"")}, data={"name": "a"}), 422)
    assert_problem(
        client.post("/templates", files=[("picture", file[1])], data={"name": "a"}), 422, "picture"
    )
    assert_problem(client.post("/templates", files=[file, file], data={"name": "a"}), 413, "file")
    for name, value in (("name", "a"), ("region", json.dumps(DAMAGE)), ("max_distance", "9")):
        given = {"name": "a"} | {name: [value, value]}
        assert_problem(client.post("/templates", files=[file], data=given), 422, name)
    assert_problem(client.post("/templates", json={"name": "a"}), 422, "content-type")
    assert client.get("/templates").json()["total"] == 0


def test_a_file_that_is_no_picture_is_refused(client: TestClient, parts: Parts) -> None:
    for data, status in ((b"nothing", 415), (b"", 422), (encoded(scene(), "PNG")[:5000], 422)):
        assert_problem(post(client, data), status)
    assert client.get("/templates").json()["total"] == 0
    assert not list(parts.template_pictures.root.glob("*/*"))


def test_a_picture_with_nothing_on_it_can_be_no_template(client: TestClient, parts: Parts) -> None:
    picture = Image.new("RGB", (640, 480), "white")
    picture.paste(photo().resize((200, 200)), (0, 0))
    region = {"x": 300, "y": 200, "width": 200, "height": 200}
    for fingerprint in ("pattern", "phash", "colorhash"):
        for size in ((300, 200), (1, 1), (20_000, 20), (20_000, 1)):
            blank = Image.new("RGB", size, "white")
            assert_problem(post(client, blank, fingerprint=fingerprint), 422, "file")
        assert_problem(post(client, picture, fingerprint=fingerprint, region=region), 422, "region")
    assert not list(parts.template_pictures.root.glob("*/*"))


def test_a_new_name_keeps_the_matches(client: TestClient, no_scans: Callable[[], None]) -> None:
    no_scans()
    uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = made(client)
    before = matches(client, template_id)
    changed = patched(client, template_id, name="scratch")
    assert (changed["name"], changed["compared"], changed["found"]["images"]) == ("scratch", True, 1)
    assert matches(client, template_id) == before
    again = uploaded(client, "KD-2", encoded(scene(), "PNG"))
    assert shows(again, template_id)["name"] == "scratch"


def test_another_radius_compares_all_images_anew(client: TestClient) -> None:
    images = [
        uploaded(client, f"KD-{number}", encoded(picture, "PNG"))["image_id"]
        for number, picture in enumerate((scene(), scene(ground=101), scene(6)))
    ]
    template_id = made(client, max_distance=512)
    found = {each["image_id"]: each["distance"] for each in matches(client, template_id)["matches"]}
    assert found.keys() == set(images)
    nearest, second, third = sorted(found.values())
    assert nearest < second < third
    for radius, number in ((second - 1, 1), (second, 2), (third, 3), (nearest - 1, 0)):
        assert patched(client, template_id, max_distance=radius)["max_distance"] == radius
        wanted = sorted(found, key=found.__getitem__)[:number]
        assert ids(matches(client, template_id)) == wanted
        assert {each for each in images if client.get(f"/images/{each}").json()["templates"]} == set(wanted)
    assert uploaded(client, "KD-9", encoded(scene(), "PNG"))["templates"] == []


def test_uploads_exactly_at_the_radius_show_it(client: TestClient) -> None:
    for fingerprint, most in (("pattern", 512), ("phash", 64)):
        template_id = made(client, fingerprint=fingerprint, max_distance=most)
        picture = scene(ground=101)
        image = uploaded(client, f"KD-{fingerprint}", encoded(picture, "PNG"))
        distance = shows(image, template_id)["distance"]
        assert distance > 0
        for radius, claim in ((distance, "at"), (distance - 1, "below")):
            patched(client, template_id, max_distance=radius)
            again = uploaded(client, f"KD-{fingerprint}-{claim}", encoded(picture, "PNG"))
            assert bool(shows(again, template_id)) == (claim == "at")


def test_the_radius_it_has_already_is_no_change(client: TestClient, no_scans: Callable[[], None]) -> None:
    uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = post(client).json()["template_id"]
    no_scans()
    until_compared(client, template_id)
    changed = patched(client, template_id, max_distance=120, enabled=True, name="damage")
    assert changed["compared"]
    assert changed["found"]["images"] == 1


def test_template_that_is_switched_off_is_in_no_answer_until_it_is_on_again(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = made(client)
    assert ids(matches(client, template_id)) == [image["image_id"]]
    off = patched(client, template_id, enabled=False)
    assert off["enabled"] is False
    assert off["found"]["images"] == 0
    assert matches(client, template_id)["total"] == 0
    assert client.get(f"/images/{image['image_id']}").json()["templates"] == []
    other = uploaded(client, "KD-2", encoded(scene(), "PNG"))
    assert other["templates"] == []
    patched(client, template_id, enabled=True)
    assert set(ids(matches(client, template_id))) == {image["image_id"], other["image_id"]}
    assert shows(uploaded(client, "KD-3", encoded(scene(), "PNG")), template_id)


def test_template_made_switched_off_is_compared_with_nothing(client: TestClient) -> None:
    uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = post(client, enabled=False).json()["template_id"]
    assert uploaded(client, "KD-2", encoded(scene(), "PNG"))["templates"] == []
    time.sleep(3 * keeper.TICK_SECONDS)
    assert client.get(f"/templates/{template_id}").json()["found"]["images"] == 0
    patched(client, template_id, enabled=True)
    assert matches(client, template_id)["total"] == 2


WRONG_CHANGES = [
    ('{"fingerprint": "phash"}', "body"),
    ('{"name": "a", "colour": "red"}', "body"),
    ("{}", "body"),
    ("[]", "body"),
    ("", "body"),
    ('{"max_distance": NaN}', "body"),
    ("[" * 60_000, "body"),
    ('{"name": "\\ud800"}', "name"),
    ('{"name": null}', "name"),
    ('{"name": ""}', "name"),
    ('{"max_distance": 1e400}', "max_distance"),
    ('{"max_distance": 1' + "0" * 400 + "}", "max_distance"),
    ('{"max_distance": 513}', "max_distance"),
    ('{"max_distance": -1}', "max_distance"),
    ('{"max_distance": "9"}', "max_distance"),
    ('{"enabled": null}', "enabled"),
    ('{"enabled": 0}', "enabled"),
]


def test_a_change_that_is_wrong_is_named_and_changes_nothing(client: TestClient) -> None:
    template_id = made(client)
    before = client.get(f"/templates/{template_id}").json()
    for body, field in WRONG_CHANGES:
        assert_problem(client.patch(f"/templates/{template_id}", content=body), 422, field)
    assert_problem(client.patch(f"/templates/{template_id}", content="[" * 70_000), 413)
    assert client.get(f"/templates/{template_id}").json() == before


def test_deleted_template_is_gone_from_every_answer(client: TestClient, parts: Parts, engine: Engine) -> None:
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = made(client)
    assert matches(client, template_id)["total"] == 1
    assert client.delete(f"/templates/{template_id}").status_code == 204
    for path in ("", "/matches", "/sheet.png", "/content"):
        assert_problem(client.get(f"/templates/{template_id}{path}"), 404)
    assert_problem(client.delete(f"/templates/{template_id}"), 404)
    assert_problem(client.patch(f"/templates/{template_id}", json={"name": "a"}), 404)
    assert client.get("/templates").json()["templates"] == []
    assert client.get(f"/images/{image['image_id']}").json()["templates"] == []
    assert uploaded(client, "KD-2", encoded(scene(), "PNG"))["templates"] == []
    assert not list(parts.template_pictures.root.glob("*/*"))
    with engine.connect() as connection:
        events = connection.execute(
            text("SELECT action, actor, detail FROM event WHERE subject = :id ORDER BY id"),
            {"id": template_id},
        ).all()
        assert connection.execute(text("SELECT count(*) FROM template_match")).scalar_one() == 0
    assert [event.action for event in events] == ["template.create", "template.delete"]
    assert all(event.actor.startswith("tests/") for event in events)
    assert events[0].detail == {"name": "damage", "fingerprint": "pattern"}
    assert events[1].detail == {"name": "damage", "matches": 1}


def test_changes_are_logged_with_their_values(client: TestClient, engine: Engine) -> None:
    template_id = made(client)
    patched(client, template_id, max_distance=100, enabled=True)
    with engine.connect() as connection:
        detail = connection.execute(
            text("SELECT detail FROM event WHERE action = 'template.change'")
        ).scalar_one()
    assert detail == {"name": "damage", "max_distance": 100}


@pytest.mark.parametrize("path", ["/images/{image_id}", "/claims/KD-1"])
def test_deleted_image_is_in_no_match(client: TestClient, engine: Engine, path: str) -> None:
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    template_id = made(client)
    other = uploaded(client, "KD-2", encoded(scene(), "PNG"))
    assert matches(client, template_id)["total"] == 2
    assert client.delete(path.format(image_id=image["image_id"])).status_code == 204
    assert ids(matches(client, template_id)) == [other["image_id"]]
    assert client.get(f"/templates/{template_id}").json()["found"]["images"] == 1
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM template_match")).scalar_one() == 1


def test_pages_of_matches_are_all_of_them_once_nearest_first(client: TestClient) -> None:
    template_id = made(client, max_distance=512)
    pictures = [scene(5 + number % 3, ground=100 + number) for number in range(6)] + [scene()] * 3
    images = [
        uploaded(client, f"KD-{number}", encoded(picture, "PNG"))["image_id"]
        for number, picture in enumerate(pictures)
    ]
    whole = matches(client, template_id)["matches"]
    assert {each["image_id"] for each in whole} == set(images)
    places = [(each["distance"], images.index(each["image_id"])) for each in whole]
    assert places == sorted(places)
    assert len({distance for distance, _ in places}) < len(places)
    for limit in (1, 2, 3, 8, 9, 200):
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            page = matches(client, template_id, limit=limit, **({"cursor": cursor} if cursor else {}))
            assert page["total"] == 9
            seen += page["matches"]
            cursor, pages = page["next_cursor"], pages + 1
            assert len(page["matches"]) == limit or cursor is None
        assert seen == whole
        assert pages == -(-9 // limit)


def test_pages_of_matches_leave_out_what_came_after_the_first(client: TestClient) -> None:
    template_id = made(client)
    for number in range(3):
        uploaded(client, f"KD-{number}", encoded(scene(ground=100 + number), "PNG"))
    first = matches(client, template_id, limit=2)
    uploaded(client, "KD-new", encoded(scene(), "PNG"))
    second = matches(client, template_id, limit=2, cursor=first["next_cursor"])
    assert (first["total"], second["total"], second["next_cursor"]) == (3, 3, None)
    assert [each["claim_id"] for each in second["matches"] + first["matches"]].count("KD-new") == 0
    assert len(set(ids(first) + ids(second))) == 3


def test_cursor_of_another_listing_is_refused(client: TestClient) -> None:
    one, other = made(client), made(client)
    for number in range(2):
        uploaded(client, f"KD-{number}", encoded(scene(ground=100 + number), "PNG"))
    cursor = matches(client, one, limit=1)["next_cursor"]
    listed = client.get("/templates", params={"limit": 1}).json()["next_cursor"]
    assert matches(client, one, limit=1, cursor=cursor)["matches"]
    for path, params in (
        (f"/templates/{other}/matches", {"cursor": cursor}),
        (f"/templates/{one}/matches", {"cursor": cursor, "labels": '{"a": 1}'}),
        (f"/templates/{one}/matches", {"cursor": cursor, "from": "2026-01-01"}),
        (f"/templates/{one}/matches", {"cursor": listed}),
        (f"/templates/{one}/matches", {"cursor": "x"}),
        (f"/templates/{one}/matches", {"cursor": ""}),
        ("/templates", {"cursor": cursor}),
        ("/templates", {"cursor": "é"}),
    ):
        assert_problem(client.get(path, params=params), 400, "cursor")


@pytest.fixture
def in_plants(client: TestClient) -> tuple[str, dict[str, str]]:
    """A template, and images that show it by name: of plants A and B, claimed in March and June; or of today."""
    template_id = made(client)
    images = {
        name: labelled(client, f"KD-{name}", scene(ground=100 + number), **labels)
        for number, (name, labels) in enumerate(
            {
                "march": {"plant": "A", "claimed_at": "2026-03-02T10:00:00"},
                "june": {"plant": "A", "claimed_at": "2026-06-01", "line": 7},
                "late": {"plant": "B", "claimed_at": "2026-06-20"},
                "odd": {"plant": "B", "claimed_at": "20 June"},
                "none": {},
            }.items()
        )
    }
    labelled(client, "KD-other", scene(6), plant="A")
    return template_id, images


def test_matches_are_those_with_the_labels_and_of_the_days_asked_for(
    client: TestClient, in_plants: tuple[str, dict[str, str]]
) -> None:
    template_id, images = in_plants
    today = dt.datetime.now(dt.UTC).date().isoformat()
    expected: Sequence[tuple[dict[str, str], list[str]]] = [
        ({}, ["march", "june", "late", "odd", "none"]),
        ({"labels": '{"plant": "A"}'}, ["march", "june"]),
        ({"labels": '{"plant": "A", "line": 7}'}, ["june"]),
        ({"labels": '{"line": "7"}'}, []),
        ({"labels": "{}"}, ["march", "june", "late", "odd", "none"]),
        ({"labels": '{"plant": "\' OR 1=1 --"}'}, []),
        ({"labels": '{"a:b": "%(x)s :x"}'}, []),
        ({"from": "2026-06-01", "to": "2026-06-20"}, ["june", "late"]),
        ({"to": "2026-06-01"}, ["march", "june"]),
        ({"from": "2026-06-02", "to": "2026-06-19"}, []),
        ({"from": today}, ["odd", "none"]),
        ({"labels": '{"plant": "B"}', "to": "2026-06-30"}, ["late"]),
    ]
    for params, names in expected:
        found = matches(client, template_id, **params)
        assert set(ids(found)) == {images[name] for name in names}, params
        assert found["total"] == len(names)
        shown = client.get(f"/templates/{template_id}", params=params).json()["found"]
        assert (shown["images"], shown["claims"]) == (len(names), len(names)), params
        sheet = client.get(f"/templates/{template_id}/sheet.png", params=params)
        assert sheet.status_code == (200 if names else 404)
    shown = client.get(f"/templates/{template_id}", params={"to": "2026-12-31"}).json()["found"]
    assert shown["first_day"] == "2026-03-02"
    assert shown["labels"]["plant"] == [
        {"value": "A", "images": 2, "share": 0.4},
        {"value": "B", "images": 2, "share": 0.4},
    ]
    assert shown["labels"]["line"] == [{"value": 7, "images": 1, "share": 0.2}]
    assert "claimed_at" not in shown["labels"]


WRONG_FILTERS = [
    ({"labels": '{"a": {"b": 1}}'}, "labels.a"),
    ({"labels": '{"a": [1]}'}, "labels.a"),
    ({"labels": '{"a": null}'}, "labels.a"),
    ({"labels": '{"a": 1e400}'}, "labels.a"),
    ({"labels": '{"a": 1' + "0" * 400 + "}"}, "labels.a"),
    ({"labels": '{"a": "\\ud800"}'}, "labels.a"),
    ({"labels": '{"\\u0000": 1}'}, "labels"),
    ({"labels": '{"a": NaN}'}, "labels"),
    ({"labels": '["a"]'}, "labels"),
    ({"labels": ""}, "labels"),
    ({"from": "2026-02-30"}, "from"),
    ({"from": "yesterday"}, "from"),
    ({"from": "1751328000"}, "from"),
    ({"to": "2026-3-1"}, "to"),
    ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
    ({"form": "2026-03-02"}, "form"),
    ({"from_day": "2026-03-02"}, "from_day"),
]


def test_a_filter_that_is_wrong_is_named(client: TestClient) -> None:
    template_id = made(client)
    for path, (params, field) in itertools.product(("", "/matches", "/sheet.png"), WRONG_FILTERS):
        assert_problem(client.get(f"/templates/{template_id}{path}", params=params), 422, field)


def test_recent_images_are_told_alike_in_the_list_and_alone(client: TestClient) -> None:
    old, new = made(client), made(client, scene(6, at=(0, 0)).crop((0, 0, 240, 240)))
    labelled(client, "KD-1", scene(), claimed_at="2026-03-02")
    labelled(client, "KD-2", scene(6), claimed_at="2026-06-02")
    listed = {
        each["template_id"]: (each["found"]["recent"], each["found"]["before"])
        for each in client.get("/templates").json()["templates"]
    }
    # Of the four weeks up to the day of the newest image.
    assert listed == {old: (0, 0), new: (1, 0)}
    for template_id, counts in listed.items():
        found = client.get(f"/templates/{template_id}").json()["found"]
        assert (found["recent"], found["before"]) == counts


def test_portal_keys_may_do_nothing_with_templates(client: TestClient, make_key: Callable[..., str]) -> None:
    template_id = made(client)
    admin = client.headers["Authorization"]
    client.headers["Authorization"] = f"Bearer {make_key('portal', 'portal-de')}"
    path = f"/templates/{template_id}"
    for response in (
        post(client),
        client.get("/templates"),
        client.get(path),
        client.get(f"{path}/matches"),
        client.get(f"{path}/sheet.png"),
        client.get(f"{path}/content"),
        client.patch(path, json={"enabled": False}),
        client.delete(path),
        client.get("/templates/nothing"),
    ):
        assert_problem(response, 403)
    client.headers["Authorization"] = admin
    assert client.get(path).json()["enabled"]
    assert client.get("/templates").json()["total"] == 1


def test_quality_control_may_do_all_with_templates(client: TestClient, make_key: Callable[..., str]) -> None:
    uploaded(client, "KD-1", encoded(scene(), "PNG"))
    client.headers["Authorization"] = f"Bearer {make_key('qc', 'qc')}"
    template_id = made(client)
    assert matches(client, template_id)["total"] == 1
    patched(client, template_id, name="b")
    assert client.get("/templates").json()["total"] == 1
    assert client.delete(f"/templates/{template_id}").status_code == 204


def test_sheet_and_content_are_pictures(client: TestClient) -> None:
    for number in range(2):
        uploaded(client, f"KD-{number}", encoded(scene(ground=100 + number), "PNG"))
    template_id = made(client)
    matches(client, template_id)
    sheet = client.get(f"/templates/{template_id}/sheet.png")
    content = client.get(f"/templates/{template_id}/content")
    for response, media_type, form in ((sheet, "image/png", "PNG"), (content, "image/jpeg", "JPEG")):
        assert response.status_code == 200
        assert response.headers["content-type"] == media_type
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "no-store" in response.headers["cache-control"]
        with Image.open(io.BytesIO(response.content)) as shown:
            shown.load()
            assert shown.format == form
            if form == "JPEG":
                assert shown.size == (512, 384)


def test_templates_are_listed_in_pages_in_the_order_they_were_made_in(client: TestClient) -> None:
    made_ids = [post(client, name=str(number)).json()["template_id"] for number in range(5)]
    client.delete(f"/templates/{made_ids.pop(1)}")
    seen, cursor = [], None
    while not seen or cursor:
        page = client.get("/templates", params={"limit": 3} | ({"cursor": cursor} if cursor else {})).json()
        assert page["total"] == 4
        seen += [each["template_id"] for each in page["templates"]]
        cursor = page["next_cursor"]
    assert seen == made_ids
    until_compared(client, made_ids[-1])
    (first,) = client.get("/templates", params={"limit": 1}).json()["templates"]
    assert first == client.get(f"/templates/{made_ids[0]}").json()


def test_a_template_of_no_such_id_is_not_found(client: TestClient) -> None:
    template_id = made(client)
    for unknown in (
        "00000000-0000-4000-8000-000000000000",
        "nothing",
        template_id.upper(),
        template_id.replace("-", ""),
        "%00",
    ):
        for path in ("", "/matches", "/sheet.png", "/content"):
            assert_problem(client.get(f"/templates/{unknown}{path}"), 404)
        assert_problem(client.patch(f"/templates/{unknown}", json={"name": "a"}), 404)
        assert_problem(client.delete(f"/templates/{unknown}"), 404)


def test_more_templates_than_there_may_be_are_refused(
    client: TestClient, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.templates.MOST_TEMPLATES", 2)
    first = post(client).json()["template_id"]
    assert post(client).status_code == 201
    assert assert_problem(post(client), 409)["limit"] == 2
    assert len(list(parts.template_pictures.root.glob("*/*.original"))) == 2
    client.delete(f"/templates/{first}")
    assert post(client).status_code == 201


def test_chances_are_told_once_a_hundred_images_were_compared(client: TestClient, engine: Engine) -> None:
    insert_rows(engine, 120, np.random.default_rng(1))
    template_id = made(client)
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    chance = shows(image, template_id)["chance"]
    assert 0 <= chance < 0.01
    assert client.get(f"/templates/{template_id}").json()["compared_images"] == 120


@pytest.mark.parametrize("fingerprint", ["pattern", "keypoints"])
def test_images_that_get_their_fingerprint_from_a_job_are_compared_then(
    client: TestClient, engine: Engine, fingerprint: str
) -> None:
    picture = photo().resize((640, 640))  # with keypoints where the damage of others is
    image = uploaded(client, "KD-1", encoded(picture, "PNG"))
    if fingerprint == "pattern":
        test_jobs.as_before_0004(engine)
    else:  # as migration 0007 found it
        with engine.begin() as connection:
            connection.execute(text("UPDATE image SET keypoint_count = NULL; DELETE FROM image_keypoints"))
    template_id = made(client, picture, fingerprint=fingerprint, region=DAMAGE)
    found = matches(client, template_id)
    assert (found["total"], found["not_compared_yet"]) == (0, 1)
    test_jobs.ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["images"] == 1
    deadline = time.monotonic() + SECONDS
    while not (found := matches(client, template_id))["matches"] and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ids(found) == [image["image_id"]]
    assert found["not_compared_yet"] == 0


def test_a_template_whose_keypoints_were_defined_anew_is_made_anew(
    client: TestClient, engine: Engine
) -> None:
    picture = photo().resize((640, 640))
    made_before, lost = (made(client, picture, fingerprint="keypoints", region=DAMAGE) for _ in range(2))
    image = uploaded(client, "KD-1", encoded(picture, "PNG"))
    assert {each["template_id"] for each in image["templates"]} == {made_before, lost}
    with engine.begin() as connection:  # as migration 0009 leaves it
        connection.execute(
            text("DELETE FROM template_match; UPDATE template SET code = NULL, scanned_seq = NULL")
        )
    client.app.state.parts.template_pictures.discard(UUID(lost))
    unknown = uploaded(client, "KD-2", encoded(picture, "PNG"))
    assert (unknown["templates"], unknown["templates_pending"]) == ([], 2)
    test_jobs.ask_for_fill(engine)
    with engine.connect() as connection:
        job_id = connection.execute(text("SELECT job_id FROM job WHERE kind = 'fill'")).scalar_one()
    assert finished(client, str(job_id))["result"]["templates"] == 1
    deadline = time.monotonic() + SECONDS
    while matches(client, made_before)["total"] < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert matches(client, made_before)["total"] == 2
    assert client.get(f"/templates/{lost}/matches").status_code == 503  # that is not: none
    with engine.connect() as connection:
        jobs = connection.execute(text("SELECT count(*) FROM job WHERE kind = 'templates'")).scalar_one()
    assert jobs <= 3  # two were made, one made anew; for what has no code there is nothing to do
    again = uploaded(client, "KD-3", encoded(picture, "PNG"))
    assert [each["template_id"] for each in again["templates"]] == [made_before]
    assert again["templates_pending"] == 1


@pytest.mark.parametrize("picture", [scene(), drawn(1)], ids=["shows it", "does not"])
def test_a_replay_tells_what_the_upload_told(client: TestClient, picture: Image.Image) -> None:
    made(client)
    data = encoded(picture, "PNG")
    first, second = uploaded(client, "KD-1", data), uploaded(client, "KD-1", data)
    assert (first["created"], second["created"]) == (True, False)
    assert first["templates"] == second["templates"]


def test_a_replay_shows_a_template_that_was_made_since(
    client: TestClient, no_scans: Callable[[], None]
) -> None:
    data = encoded(scene(), "PNG")
    uploaded(client, "KD-1", data)
    template_id = post(client).json()["template_id"]
    again = uploaded(client, "KD-1", data)
    assert not again["created"]
    assert shows(again, template_id)


def test_templates_from_before_there_were_images_get_chance_levels_when_there_are(
    client: TestClient, engine: Engine
) -> None:
    template_id = made(client)
    until_compared(client, template_id)
    insert_rows(engine, 100, np.random.default_rng(0))
    scan_outgrown(engine)
    assert client.get(f"/templates/{template_id}").json()["compared"] is False
    assert until_compared(client, template_id)["compared_images"] == 100
    scan_outgrown(engine)
    assert client.get(f"/templates/{template_id}").json()["compared"] is True


def test_an_image_tells_how_many_templates_are_still_being_compared(
    client: TestClient, no_scans: Callable[[], None]
) -> None:
    image = uploaded(client, "KD-1", encoded(scene(), "PNG"))
    no_scans()
    assert post(client).status_code == 201
    assert image["templates_pending"] == 0
    assert client.get(f"/images/{image['image_id']}").json()["templates_pending"] == 1
    # What is sent again is compared with all templates before the answer.
    assert uploaded(client, "KD-1", encoded(scene(), "PNG"))["templates_pending"] == 0


def test_templates_that_most_images_can_not_be_compared_with_are_not_compared_without_end(
    client: TestClient, engine: Engine
) -> None:
    """By a hash of the whole: of 120 images all but a few have low information."""
    insert_rows(engine, 120, np.random.default_rng(0))
    with engine.begin() as connection:
        connection.execute(text("UPDATE image SET status = 'low_information' WHERE id > 5"))
    template_id = made(client, fingerprint="phash")
    scan_outgrown(engine)
    shown = client.get(f"/templates/{template_id}").json()
    assert (shown["compared"], shown["compared_images"]) == (True, 5)


@pytest.mark.parametrize("path", ["/templates?sort=x", "/clusters/runs?labels=1"])
def test_unknown_parameters_are_refused(client: TestClient, path: str) -> None:
    assert_problem(client.get(path), 422)
