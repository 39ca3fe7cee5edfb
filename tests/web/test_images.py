import io
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from PIL import Image, ImageOps
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from tests.pictures import drawn, encoded, photo
from tests.web.api import assert_problem, upload, uploaded


def test_image_is_shown_with_its_matches(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    second = uploaded(client, "KD-2", encoded(photo(), quality=50))
    shown = client.get(f"/images/{first['image_id']}").json()
    assert [match["image_id"] for match in shown["matches"]] == [second["image_id"]]
    assert shown["verdict"] == "near_duplicate"
    assert {name: shown[name] for name in ("sha256", "hashes", "seq", "file_name")} == {
        name: first[name] for name in ("sha256", "hashes", "seq", "file_name")
    }


def test_content_is_the_uploaded_bytes(client: TestClient) -> None:
    data = encoded(photo())
    image = uploaded(client, "KD-1", data)
    response = client.get(f"/images/{image['image_id']}/content")
    assert response.content == data
    assert response.headers["content-type"] == "image/jpeg"
    assert response.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("size", "side"), [("thumbnail", 256), ("rendition", 512)])
def test_smaller_sizes_are_upright_jpegs(client: TestClient, size: str, side: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = uploaded(client, "KD-1", encoded(photo("coffee"), exif=exif))
    response = client.get(f"/images/{image['image_id']}/content", params={"size": size})
    picture = Image.open(io.BytesIO(response.content))
    assert picture.format == "JPEG"
    assert max(picture.size) == side
    assert picture.height > picture.width


@pytest.mark.parametrize("kept", [0, 500])
def test_a_thumbnail_of_a_damaged_rendition_is_not_found(client: TestClient, kept: int) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    pictures = client.app.state.parts.pictures  # type: ignore[attr-defined]
    rendition = pictures.files(UUID(image["image_id"])).rendition
    rendition.write_bytes(rendition.read_bytes()[:kept])
    response = client.get(f"/images/{image['image_id']}/content", params={"size": "thumbnail"})
    assert_problem(response, 404)
    assert "damaged" in response.json()["detail"]


def test_unknown_size_is_refused(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    assert_problem(client.get(f"/images/{image['image_id']}/content", params={"size": "huge"}), 422, "size")


def test_file_name_is_text_and_never_a_path_or_a_header(client: TestClient) -> None:
    name = '../../etc/passwd\r\nX: y";\u202e.jpg'
    files = [("files", (name, encoded(drawn(1))))]
    image = client.post("/claims/KD-1/images", files=files).json()["images"][0]
    response = client.get(f"/images/{image['image_id']}/content")
    assert response.status_code == 200
    assert "x" not in response.headers
    assert response.headers["content-disposition"].startswith("inline; filename*=utf-8''")


def test_matches_are_paged_best_first(client: TestClient) -> None:
    data = encoded(photo())
    first = uploaded(client, "KD-0", data)
    for number in range(1, 8):
        upload(client, f"KD-{number}", data if number % 2 else encoded(photo(), quality=40 + number))
    path = f"/images/{first['image_id']}/matches"
    everything = client.get(path).json()
    assert everything["total"] == 7
    assert [match["kind"] for match in everything["matches"]] == ["same_file"] * 4 + ["near_duplicate"] * 3
    paged: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        page = client.get(path, params={"limit": 2} | cursor).json()
        paged += page["matches"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        upload(client, "KD-later", data)
    assert paged == everything["matches"]
    assert_problem(client.get(path, params={"cursor": "x"}), 400, "cursor")


def test_labels_are_merged_and_null_takes_one_away(client: TestClient) -> None:
    response = upload(client, "KD-1", encoded(drawn(1)), labels='{"product": "fridge", "branch": "Kiel"}')
    path = f"/images/{response.json()['images'][0]['image_id']}"
    patched = client.patch(path, json={"labels": {"branch": None, "plant": "B", "year": 2026, "sound": True}})
    assert patched.json()["labels"] == {"product": "fridge", "plant": "B", "year": 2026, "sound": True}
    assert client.get(path).json()["labels"] == patched.json()["labels"]


@pytest.mark.parametrize(
    "labels",
    [
        "[]",
        "{",
        '{"a": {"b": 1}}',
        '{"a": NaN}',
        '{"a": null}',
        '{"": 1}',
        '{"a": "\\u0000"}',
        '{"a": "\\ud800"}',
        '{"a": 1e999}',
        '{"a": 99999999999999999999999}',
        '{"%s": 1}' % ("n" * 65),
        '{"a": "%s"}' % ("v" * 257),
        "{%s}" % ",".join(f'"{n}": 1' for n in range(33)),
        "[" * 50_000,
    ],
)
def test_labels_out_of_range_are_refused_and_nothing_is_stored(
    client: TestClient, engine: Engine, labels: str
) -> None:
    response = upload(client, "KD-1", encoded(drawn(1)), labels=labels)
    assert 400 <= response.status_code < 500
    assert assert_problem(response, 422)["field"].startswith("labels")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 0


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b'{"label": {}}', b'{"labels": 1}', b"\xff\xfe", b"[" * 30_000]
)
def test_patch_with_a_bad_body_is_refused(client: TestClient, body: bytes) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    assert_problem(client.patch(f"/images/{image['image_id']}", content=body), 422)


def test_patch_with_a_huge_body_is_refused(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    assert_problem(client.patch(f"/images/{image['image_id']}", content=b" " * 70_000), 413)


def test_deleted_image_is_gone_from_every_answer_and_its_bytes_from_disk(
    client: TestClient, settings: Any, engine: Engine
) -> None:
    data = encoded(photo())
    gone = uploaded(client, "KD-1", data)
    kept = uploaded(client, "KD-2", data)
    assert client.delete(f"/images/{gone['image_id']}").status_code == 204
    for path in ("", "/content", "/matches"):
        assert_problem(client.get(f"/images/{gone['image_id']}{path}"), 404)
    assert client.get(f"/images/{kept['image_id']}").json()["matches"] == []
    assert client.get("/similar", params={"image_id": kept["image_id"]}).json()["total"] == 0
    assert_problem(client.get("/similar", params={"image_id": gone["image_id"]}), 404)
    assert_problem(client.get("/claims/KD-1/images"), 404)
    assert_problem(client.delete(f"/images/{gone['image_id']}"), 404)
    assert not list((settings.data_dir / "pictures").glob(f"??/{gone['image_id']}*"))
    with engine.connect() as connection:
        row = connection.execute(
            text("SELECT * FROM image WHERE image_id = :id"), {"id": gone["image_id"]}
        ).one()
        assert connection.execute(text("SELECT count(*) FROM match")).scalar() == 0
    left = {name for name, value in row._mapping.items() if value is not None}
    assert left == {"id", "image_id", "created_seq", "change_seq", "deleted_at"}


def test_deleted_picture_can_be_sent_again(client: TestClient) -> None:
    data = encoded(photo())
    first = uploaded(client, "KD-1", data)
    client.delete(f"/images/{first['image_id']}")
    again = uploaded(client, "KD-1", data)
    assert again["created"] is True
    assert again["image_id"] != first["image_id"]


def test_deleting_a_claim_takes_all_its_images(client: TestClient) -> None:
    upload(client, "KD-1", encoded(drawn(1)), encoded(drawn(2)))
    other = uploaded(client, "KD-2", encoded(drawn(1)))
    assert client.delete("/claims/KD-1").status_code == 204
    assert_problem(client.get("/claims/KD-1/images"), 404)
    assert_problem(client.delete("/claims/KD-1"), 404)
    assert client.get(f"/images/{other['image_id']}").json()["verdict"] == "none"


def test_deletion_is_in_the_event_log(client: TestClient, engine: Engine) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    client.delete(f"/images/{image['image_id']}")
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM event WHERE action = 'image.delete'")).one()
    assert row.subject == image["image_id"]
    assert row.actor.startswith("tests/cp_")


def test_a_change_of_labels_is_in_the_event_log_without_their_values(
    client: TestClient, engine: Engine
) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    path = f"/images/{image['image_id']}"
    assert client.patch(path, json={"labels": {"plant": "B", "branch": None}}).status_code == 200
    assert_problem(
        client.patch(path, json={"labels": {str(number): 1 for number in range(32)}}), 422, "labels"
    )
    with engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM event WHERE action = 'image.labels'")).one()
    assert row.subject == image["image_id"]
    assert row.actor.startswith("tests/cp_")
    assert row.detail == {"labels": ["branch", "plant"]}


def test_claim_lists_its_images_in_upload_order(client: TestClient) -> None:
    upload(client, "KD-1", *[encoded(drawn(seed)) for seed in range(5)])
    listed: list[Any] = []
    params: dict[str, Any] = {"limit": 2}
    while True:
        page = client.get("/claims/KD-1/images", params=params).json()
        assert page["total"] == 5
        listed += page["images"]
        if page["next_cursor"] is None:
            break
        params["cursor"] = page["next_cursor"]
    assert [image["file_name"] for image in listed] == [f"{number}.jpg" for number in range(5)]


def test_claim_ids_are_case_sensitive(client: TestClient) -> None:
    upload(client, "kd-1", encoded(drawn(1)))
    assert_problem(client.get("/claims/KD-1/images"), 404)


def shown_hashes(client: TestClient, image_id: str, **params: str) -> Image.Image:
    response = client.get(f"/images/{image_id}/hashes.png", params=params)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(response.content))


def red_cells(picture: Image.Image) -> int:
    """Marked cells in the row of the first image: 12 pixels each, in the last two grids 6."""
    pixels = np.asarray(picture).astype(int)[:120, 120:]
    marked = np.isin(pixels @ [1 << 16, 1 << 8, 1], [0xC4161C, 0xFFB0AA])
    return sum(
        int(marked[12 : 12 + 96, left : left + 96][cell // 2 :: cell, cell // 2 :: cell].sum())
        for left, cell in [(12 + 120 * number, 12) for number in range(5)] + [(12 + 600, 6), (12 + 720, 6)]
    )


def test_hashes_are_drawn_as_grids_of_their_bits(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    pixels = np.asarray(shown_hashes(client, image["image_id"]))
    for number, name in enumerate(("ahash", "phash", "dhash", "whash", "whash_db4")):
        left = 12 + 120 * (1 + number)
        cells = pixels[12 : 12 + 96, left : left + 96, 0][6::12, 6::12]
        value = int("".join("1" if cell < 128 else "0" for cell in cells.ravel()), 2)
        assert f"{value:016x}" == image["hashes"][name]


def test_bits_that_differ_between_two_images_are_red(client: TestClient) -> None:
    first = uploaded(client, "KD-1", encoded(photo()))
    second = uploaded(client, "KD-2", encoded(ImageOps.mirror(photo()), quality=30))
    distances = second["matches"][0]["distances"]
    picture = shown_hashes(client, second["image_id"], other=first["image_id"])
    # A cell of colours is 6 pixels wide.
    assert red_cells(picture) == sum(distances.values()) > 0
    assert red_cells(shown_hashes(client, first["image_id"])) == 0
    assert red_cells(shown_hashes(client, first["image_id"], other=first["image_id"])) == 0


def test_an_image_of_no_such_id_has_no_hashes(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(photo()))
    assert_problem(client.get("/images/x/hashes.png"), 404, "image_id")
    assert_problem(client.get(f"/images/{image['image_id']}/hashes.png", params={"other": "x"}), 404, "other")


def test_hashes_of_a_flat_image_are_drawn(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(Image.new("RGB", (30, 200), "grey")))
    assert shown_hashes(client, image["image_id"]).size == (8 * 120, 154)
