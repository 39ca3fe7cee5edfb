import json
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.fingerprints.orientation import TRANSFORMS
from tests.pictures import drawn, encoded, photo, surface
from tests.rows import insert_rows
from tests.web.api import assert_problem, uploaded

COLUMNS = {"ahash": 0, "phash": 1, "dhash": 2, "whash": 3, "whash_db4": 8}


@pytest.fixture
def rows(client: TestClient, engine: Engine) -> Any:
    """A thousand rows whose hashes lie in a few tight clusters, so that every radius finds some."""
    return insert_rows(engine, 1000, np.random.default_rng(1))


def scan(
    rows: Any, turned: np.ndarray, column: int, max_distance: int, own: int | None
) -> list[tuple[int, int, str]]:
    """Plain search: (distance, row, transform) of all rows within the distance, nearest first."""
    found = []
    for number, row in enumerate(rows.turned):
        if number == own:
            continue
        distances = [int(value ^ row[0, column]).bit_count() for value in turned[:, column]]
        distance = min(distances)
        if distance <= max_distance:
            found.append((distance, number, TRANSFORMS[distances.index(distance)]))
    return sorted(found)


def answered(rows: Any, matches: Sequence[Any]) -> list[tuple[int, int, str | None]]:
    number_of = {str(image_id): number for number, image_id in enumerate(rows.image_ids)}
    return [(match["distance"], number_of[match["image_id"]], match["transform"]) for match in matches]


def all_pages(client: TestClient, **params: Any) -> tuple[list[Any], set[int]]:
    matches: list[Any] = []
    totals = set()
    cursor = None
    while True:
        response = client.get("/similar", params=params | ({"cursor": cursor} if cursor else {}))
        assert response.status_code == 200, response.text
        page = response.json()
        totals.add(page["total"])
        matches += page["matches"]
        cursor = page["next_cursor"]
        if cursor is None:
            return matches, totals


@pytest.mark.parametrize("max_distance", [0, 1, 10, 30, 64])
@pytest.mark.parametrize("hash_name", COLUMNS)
def test_answer_equals_a_scan_of_the_table(
    client: TestClient, rows: Any, hash_name: str, max_distance: int
) -> None:
    column = COLUMNS[hash_name]
    for number in (0, 500):
        expected = scan(rows, rows.turned[number][:1], column, max_distance, number)
        matches, totals = all_pages(
            client,
            image_id=str(rows.image_ids[number]),
            hash=hash_name,
            max_distance=max_distance,
            limit=200,
        )
        assert answered(rows, matches) == expected
        assert totals == {len(expected)}


@pytest.mark.parametrize("max_distance", [0, 20, 35, 64, 98])
def test_answer_by_colours_equals_a_scan_of_the_table(
    client: TestClient, rows: Any, engine: Engine, max_distance: int
) -> None:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT colour_code FROM image ORDER BY created_seq")).scalars().all()
    codes = [int.from_bytes(bytes(code)) for code in found]
    distances = [(code ^ codes[7]).bit_count() for code in codes]
    expected = sorted(
        (distance, number, "identity")
        for number, distance in enumerate(distances)
        if distance <= max_distance and number != 7
    )
    for orientations in ("as_stored", "all"):
        matches, totals = all_pages(
            client,
            image_id=str(rows.image_ids[7]),
            hash="colorhash",
            max_distance=max_distance,
            limit=200,
            orientations=orientations,
        )
        assert answered(rows, matches) == expected
        assert totals == {len(expected)}


def plain_regions(
    engine: Engine, image_id: Any, max_distance: int, transforms: int
) -> dict[str, tuple[str, list[Any]]]:
    """Every other image with a region of the same shape within the distance: each with each, no index."""
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT image_id, ordinal, hash, x, y, s.width, s.height, s.turned"
                " FROM segment s JOIN image i USING (created_seq) WHERE i.deleted_at IS NULL"
            )
        ).all()
    large = [row for row in rows if row.width * row.height >= 3000]
    found: dict[str, list[Any]] = {}
    for own in (row for row in large if row.image_id == image_id):
        words = np.frombuffer(own.turned, ">u8").tolist()
        for other in (row for row in large if row.image_id != image_id):
            for transform in range(transforms):
                sides = own.width, own.height
                wide, high = sides if transform in (0, 1, 3, 5) else sides[::-1]
                ratio = wide * other.height / (high * other.width)
                bits = ((words[transform] ^ other.hash) % 2**64).bit_count()
                if bits <= max_distance and max(ratio, 1 / ratio) <= 1.1:
                    match = (bits, transform, other.ordinal, own.ordinal, tuple(own[3:7]), tuple(other[3:7]))
                    found.setdefault(str(other.image_id), []).append(match)
    best = {name: min(matches)[1] for name, matches in found.items()}
    return {
        name: (TRANSFORMS[best[name]], sorted(match for match in matches if match[1] == best[name]))
        for name, matches in found.items()
    }


@pytest.mark.parametrize("orientations", ["as_stored", "all"])
@pytest.mark.parametrize("max_distance", [0, 3, 10, 16])
def test_answer_by_segments_equals_comparing_each_with_each(
    client: TestClient, rows: Any, engine: Engine, max_distance: int, orientations: str
) -> None:
    transforms = set()
    for image_id in rows.image_ids[:4]:
        expected = plain_regions(engine, image_id, max_distance, 8 if orientations == "all" else 1)
        matches, totals = all_pages(
            client,
            image_id=str(image_id),
            hash="segments",
            max_distance=max_distance,
            limit=200,
            orientations=orientations,
        )
        assert totals == {len(expected)}
        assert {match["image_id"] for match in matches} == set(expected)
        assert [match["distance"] for match in matches] == sorted(match["distance"] for match in matches)
        for match in matches:
            transform, pairs = expected[match["image_id"]]
            regions = [
                (pair["distance"], tuple(pair["query"].values()), tuple(pair["found"].values()))
                for pair in match["regions"]
            ]
            assert match["transform"] == transform
            assert regions == [(bits, query, found) for bits, _, _, _, query, found in pairs]
            assert match["distance"] == regions[0][0]
            transforms.add(transform)
    assert len(transforms) > 1 or orientations == "as_stored" or max_distance < 10


def test_region_of_a_turned_and_cropped_copy_is_found_in_all_orientations(client: TestClient) -> None:
    whole = photo("coffee")
    stored = uploaded(client, "KD-1", encoded(whole))
    cropped = whole.crop((whole.width // 10, whole.height // 12, whole.width, whole.height))
    turns = {"mirror": Image.Transpose.FLIP_LEFT_RIGHT, "rotate_90": Image.Transpose.ROTATE_270}
    for transform, method in turns.items():
        copy = {"file": ("x.jpg", encoded(cropped.transpose(method)))}
        params = {"hash": "segments"}
        assert client.post("/similar", params=params, files=copy).json()["total"] == 0
        answer = client.post("/similar", params=params | {"orientations": "all"}, files=copy).json()
        (match,) = answer["matches"]
        assert (match["image_id"], match["transform"]) == (stored["image_id"], transform)


def test_region_of_a_cropped_copy_is_found_where_it_is(client: TestClient) -> None:
    whole = photo("coffee")
    left, top = whole.width // 10, whole.height // 12
    cropped = whole.crop((left, top, whole.width, whole.height))
    stored = uploaded(client, "KD-1", encoded(whole))
    copy = uploaded(client, "KD-2", encoded(cropped))
    answer = client.get("/similar", params={"image_id": copy["image_id"], "hash": "segments"}).json()
    assert answer["max_distance"] == 6
    (match,) = answer["matches"]
    assert match["image_id"] == stored["image_id"]
    # Pixels of the two renditions, brought back to those of the photo.
    scale, crop_scale = whole.width / min(512, whole.width), cropped.width / min(512, cropped.width)
    for pair in match["regions"]:
        query, found = pair["query"], pair["found"]
        assert abs(query["x"] * crop_scale + left - found["x"] * scale) < 12
        assert abs(query["y"] * crop_scale + top - found["y"] * scale) < 12
    listed = client.get(f"/images/{stored['image_id']}/segments").json()["segments"]
    assert match["regions"][0]["found"] in [segment["box"] for segment in listed]
    sent = client.post("/similar", params={"hash": "segments"}, files={"file": ("x.jpg", encoded(cropped))})
    by_image = {each["image_id"]: each["regions"] for each in sent.json()["matches"]}
    assert by_image[stored["image_id"]] == match["regions"]
    client.delete(f"/images/{stored['image_id']}")
    again = client.get("/similar", params={"image_id": copy["image_id"], "hash": "segments"}).json()
    assert again["total"] == 0


def test_segments_are_searched_within_16_bits_at_most(client: TestClient, rows: Any) -> None:
    params = {"image_id": str(rows.image_ids[0]), "hash": "segments"}
    members = assert_problem(client.get("/similar", params=params | {"max_distance": 17}), 422)
    assert members["limit"] == 16


def test_picture_of_low_information_has_no_segments(client: TestClient) -> None:
    flat = uploaded(client, "KD-1", encoded(Image.new("RGB", (300, 200), "white")))
    assert client.get(f"/images/{flat['image_id']}/segments").json()["segments"] == []
    for name in ("segments", "colorhash", "whash_db4", "pattern"):
        answer = client.get("/similar", params={"image_id": flat["image_id"], "hash": name}).json()
        assert (answer["status"], answer["total"]) == ("low_information", 0)


def test_largest_distance_depends_on_the_hash(client: TestClient, rows: Any) -> None:
    params = {"image_id": str(rows.image_ids[0]), "hash": "colorhash"}
    assert client.get("/similar", params=params | {"max_distance": 98}).json()["total"] == 999
    assert assert_problem(client.get("/similar", params=params | {"max_distance": 99}), 422)["limit"] == 98
    members = assert_problem(
        client.get("/similar", params=params | {"hash": "phash", "max_distance": 65}), 422
    )
    assert (members["field"], members["limit"]) == ("max_distance", 64)


@pytest.mark.parametrize("max_distance", [0, 12, 30, 64])
def test_patterns_within_the_distance_are_those_of_a_plain_scan(
    client: TestClient, rows: Any, max_distance: int
) -> None:
    # `insert_rows` makes a pattern of the first four words of the hashes.
    near = scan(rows, rows.turned[7][:1], 0, max_distance, 7)
    expected = [(distance, row, None) for distance, row, _ in near]
    matches, totals = all_pages(
        client, image_id=str(rows.image_ids[7]), hash="pattern", max_distance=max_distance, limit=200
    )
    assert answered(rows, matches) == expected
    assert totals == {len(expected)}


def shaded(picture: Image.Image, number: int) -> bytes:
    """With soft shadows of its own: stripes alone have too little information for the other hashes."""
    shadows = drawn(number).convert("L").filter(ImageFilter.GaussianBlur(20)).resize(picture.size)
    return encoded(Image.blend(picture, shadows, 0.4).convert("RGB"))


def test_surfaces_alike_are_found_by_pattern_and_not_by_other_hashes(client: TestClient) -> None:
    whole = surface(1, (900, 500))
    stored = uploaded(client, "KD-1", shaded(whole.crop((0, 0, 500, 400)), 1))
    uploaded(client, "KD-2", shaded(surface(2, (500, 400), period=25), 2))
    moved = shaded(whole.crop((340, 60, 840, 460)).transpose(Image.Transpose.ROTATE_90), 3)
    found = client.post("/similar", params={"hash": "pattern"}, files={"file": ("x.jpg", moved)}).json()
    assert [match["image_id"] for match in found["matches"]] == [stored["image_id"]]
    params = {"hash": "dhash", "max_distance": 14}
    assert client.post("/similar", params=params, files={"file": ("x.jpg", moved)}).json()["total"] == 0


def test_all_orientations_find_what_a_scan_of_eight_finds(client: TestClient, rows: Any) -> None:
    expected = scan(rows, rows.turned[3], 1, 24, 3)
    matches, totals = all_pages(
        client, image_id=str(rows.image_ids[3]), max_distance=24, orientations="all", limit=77
    )
    assert answered(rows, matches) == expected
    assert totals == {len(expected)}
    assert len({transform for _, _, transform in expected}) > 1


def test_pages_show_no_image_uploaded_after_the_first_page(
    client: TestClient, rows: Any, engine: Engine
) -> None:
    params = {"image_id": str(rows.image_ids[0]), "max_distance": 64, "limit": 200}
    page = client.get("/similar", params=params).json()
    insert_rows(engine, 50, np.random.default_rng(2))
    seen = page["matches"]
    while page["next_cursor"]:
        page = client.get("/similar", params=params | {"cursor": page["next_cursor"]}).json()
        assert page["total"] == 999
        seen += page["matches"]
    assert len({match["image_id"] for match in seen}) == len(seen) == 999
    assert client.get("/similar", params=params).json()["total"] == 1049


def test_deleted_images_drop_out_of_later_pages(client: TestClient, rows: Any) -> None:
    params = {"image_id": str(rows.image_ids[0]), "max_distance": 64, "limit": 10}
    page = client.get("/similar", params=params).json()
    following = client.get("/similar", params=params | {"cursor": page["next_cursor"]}).json()["matches"]
    assert client.delete(f"/images/{following[0]['image_id']}").status_code == 204
    again = client.get("/similar", params=params | {"cursor": page["next_cursor"]}).json()
    assert following[0]["image_id"] not in {match["image_id"] for match in again["matches"]}
    assert again["total"] == 998


def test_rows_of_another_process_are_found_at_once(client: TestClient, rows: Any, engine: Engine) -> None:
    before = client.get("/similar", params={"image_id": str(rows.image_ids[0]), "max_distance": 64}).json()
    insert_rows(engine, 7, np.random.default_rng(3))
    after = client.get("/similar", params={"image_id": str(rows.image_ids[0]), "max_distance": 64}).json()
    assert after["total"] == before["total"] + 7
    assert after["index_seq"] > before["index_seq"]


def test_picture_that_is_not_stored_finds_the_same_as_when_it_is(client: TestClient) -> None:
    for seed in range(20):
        uploaded(client, f"KD-{seed}", encoded(drawn(seed)))
    picture = encoded(photo())
    params = {"max_distance": 30, "orientations": "all"}
    unsaved = client.post("/similar", params=params, files={"file": ("x.jpg", picture)}).json()
    stored = uploaded(client, "KD-99", picture)
    saved = client.get("/similar", params=params | {"image_id": stored["image_id"]}).json()
    assert unsaved["image_id"] is None
    assert unsaved["matches"] == saved["matches"]
    assert unsaved["total"] == saved["total"] > 0


def test_picture_of_a_search_is_not_kept(client: TestClient, settings: Any, engine: Engine) -> None:
    client.post("/similar", files={"file": ("x.jpg", encoded(photo()))})
    assert list((settings.data_dir / "pictures").glob("??/*")) == []
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image")).scalar() == 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_distance", "65"),
        ("max_distance", "-1"),
        ("max_distance", "ten"),
        ("max_distance", "1e3"),
        ("max_distance", "9" * 5000),
        ("limit", "0"),
        ("limit", "201"),
        ("hash", "md5"),
        ("orientations", "some"),
    ],
)
def test_parameter_out_of_range_is_named(client: TestClient, field: str, value: str) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    params = {"image_id": image["image_id"], field: value}
    assert_problem(client.get("/similar", params=params), 422, field)


def test_unknown_parameter_is_refused_since_a_typo_would_change_the_answer(client: TestClient) -> None:
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    params = {"image_id": image["image_id"], "max_distanse": "3"}
    assert_problem(client.get("/similar", params=params), 422, "max_distanse")


def test_missing_image_id_is_named(client: TestClient) -> None:
    assert_problem(client.get("/similar"), 422, "image_id")


def test_problem_of_a_number_out_of_range_tells_the_limit(client: TestClient) -> None:
    members = assert_problem(client.get("/similar", params={"image_id": "x", "max_distance": 99}), 422)
    assert members["limit"] == 98


@pytest.mark.parametrize(
    "image_id", ["nobody", "00000000-0000-0000-0000-000000000000", "\x00", "{1}", "é" * 300]
)
def test_unknown_image_is_not_found(client: TestClient, image_id: str) -> None:
    assert_problem(client.get("/similar", params={"image_id": image_id}), 404, "image_id")


def test_cursor_of_another_query_is_refused(client: TestClient, rows: Any) -> None:
    params = {"image_id": str(rows.image_ids[0]), "max_distance": 64, "limit": 10}
    cursor = client.get("/similar", params=params).json()["next_cursor"]
    for other in ({"max_distance": 63}, {"hash": "dhash"}, {"image_id": str(rows.image_ids[1])}):
        assert_problem(client.get("/similar", params=params | {"cursor": cursor} | other), 400, "cursor")
    assert client.get("/similar", params=params | {"cursor": cursor, "limit": 20}).status_code == 200


@pytest.mark.parametrize("cursor", ["", "x", "é", "AAAA", "A" * 43, "%00", "A" * 5000])
def test_cursor_that_was_never_handed_out_is_refused(client: TestClient, rows: Any, cursor: str) -> None:
    params = {"image_id": str(rows.image_ids[0]), "cursor": cursor}
    assert_problem(client.get("/similar", params=params), 400, "cursor")


@pytest.mark.parametrize("value", ["1_0", "%2B5", "%205", "5.0", "%D9%A5", "", "0x5", "1e1"])
def test_number_that_is_not_in_plain_digits_is_refused(client: TestClient, value: str) -> None:
    for parameter in ("max_distance", "limit"):
        response = client.get(f"/similar?image_id={uuid4()}&{parameter}={value}")
        assert_problem(response, 422, parameter)


def test_parameter_given_twice_is_refused(client: TestClient) -> None:
    response = client.get(f"/similar?image_id={uuid4()}&max_distance=1&max_distance=20")
    assert_problem(response, 422, "max_distance")


@pytest.mark.parametrize(
    "wanted",
    [
        {"labels": {"plant": "A"}},
        {"from": "2026-03-02"},
        {"to": "2026-03-02"},
        {"labels": {"plant": "B"}, "to": "2026-03-01"},
    ],
)
def test_labels_and_days_choose_among_what_is_found(
    client: TestClient, engine: Engine, rows: Any, wanted: dict[str, Any]
) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE image SET labels = jsonb_build_object('plant', substr('ABC', 1 + (id % 3)::int, 1),"
                " 'claimed_at', '2026-03-0' || 1 + id % 4)"
            )
        )
        rows_now = connection.execute(text("SELECT image_id::text AS image_id, labels FROM image")).all()
        labels = {row.image_id: row.labels for row in rows_now}

    def meant(image_id: str) -> bool:
        own = labels[image_id]
        return wanted.get("labels", {}).items() <= own.items() and wanted.get("from", "") <= own[
            "claimed_at"
        ] <= wanted.get("to", "9")

    asked = {"image_id": str(rows.image_ids[0]), "max_distance": 30}
    everything, _ = all_pages(client, **asked, limit=200)
    sent = {name: json.dumps(value) if name == "labels" else value for name, value in wanted.items()}
    found, totals = all_pages(client, **asked, **sent, limit=7)
    assert found == [match for match in everything if meant(match["image_id"])]
    assert totals == {len(found)}
    assert 0 < len(found) < len(everything)


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"labels": "{"}, "labels"),
        ({"labels": '{"plant": null}'}, "labels.plant"),
        ({"labels": '{"plant": {"a": 1}}'}, "labels.plant"),
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": "1700000000"}, "to"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
    ],
)
def test_filter_that_means_nothing_is_refused(client: TestClient, params: dict[str, str], field: str) -> None:
    assert_problem(client.get("/similar", params={"image_id": str(uuid4())} | params), 422, field)


def test_cursor_of_another_filter_is_refused(client: TestClient, rows: Any) -> None:
    asked = {"image_id": str(rows.image_ids[0]), "max_distance": 64, "limit": 1}
    cursor = client.get("/similar", params=asked).json()["next_cursor"]
    assert_problem(
        client.get("/similar", params=asked | {"cursor": cursor, "to": "2030-01-01"}), 400, "cursor"
    )
