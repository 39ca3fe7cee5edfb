from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.catalog import keys
from app.ingest import Upload
from app.parts import Parts
from app.web.access import OPEN_PATHS
from tests.pictures import drawn, encoded
from tests.web.api import assert_problem, upload, uploaded

MakeKey = Callable[..., str]


def using(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    "header", ["", "Bearer ", "Basic YTpi", "Bearer nonsense", "Bearer " + "x" * 10_000, "é"]
)
def test_request_without_a_good_key_is_refused(client: TestClient, header: str) -> None:
    response = client.get("/claims/KD-1/images", headers={"Authorization": header.encode()})
    assert_problem(response, 401)
    assert response.headers["www-authenticate"] == "Bearer"


def test_every_route_but_the_open_ones_wants_a_key(client: TestClient) -> None:
    del client.headers["Authorization"]
    paths = client.get("/openapi.json").json()["paths"]
    checked = 0
    for path, methods in paths.items():
        for method in methods:
            if path not in OPEN_PATHS:
                assert client.request(method, path).status_code == 401, (method, path)
                checked += 1
    assert checked > 10


def test_key_is_checked_before_the_body_is_read(client: TestClient) -> None:
    read = []

    def body() -> Any:
        read.append(True)
        yield b"x" * 1000

    response = client.post(
        "/claims/KD-1/images",
        content=body(),
        headers={"Authorization": "Bearer wrong", "Content-Type": "multipart/form-data; boundary=x"},
    )
    assert_problem(response, 401)


def test_role_is_checked_before_the_body_is_parsed(client: TestClient, make_key: MakeKey) -> None:
    response = client.post(
        "/claims/KD-1/images",
        content=b"not a form at all",
        headers=using(make_key("qc")) | {"Content-Type": "multipart/form-data; boundary=x"},
    )
    assert_problem(response, 403)


def test_revoked_key_is_worthless_at_once(client: TestClient, make_key: MakeKey, engine: Engine) -> None:
    key = make_key("qc")
    assert client.get("/claims/KD-1/images", headers=using(key)).status_code == 404
    with engine.begin() as connection:
        keys.revoke_key(connection, key[: keys.PREFIX_CHARACTERS])
    assert_problem(client.get("/claims/KD-1/images", headers=using(key)), 401)


def test_key_itself_is_stored_nowhere(make_key: MakeKey, engine: Engine) -> None:
    key = make_key("qc")
    with engine.connect() as connection:
        rows = (
            connection.execute(text("SELECT row_to_json(access_key)::text FROM access_key")).scalars().all()
        )
    assert rows
    assert all(key not in row and key.encode().hex() not in row for row in rows)


def test_portal_key_uploads_and_reads_its_own_clients_images_only(
    client: TestClient, make_key: MakeKey
) -> None:
    german, french = using(make_key("portal", client="de")), using(make_key("portal", client="fr"))
    client.headers |= german
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    path = f"/images/{image['image_id']}"
    for reading in (path, *(f"{path}/{part}" for part in ("content", "matches", "segments", "hashes.png"))):
        assert client.get(reading).status_code == 200
        assert_problem(client.get(reading, headers=french), 403)
    other = client.post("/claims/KD-2/images", files={"files": ("x.jpg", encoded(drawn(2)))}, headers=french)
    params = {"other": other.json()["images"][0]["image_id"]}
    assert_problem(client.get(f"{path}/hashes.png", params=params), 403)
    assert_problem(client.patch(path, json={"labels": {}}, headers=french), 403)
    assert client.get("/claims/KD-1/images").json()["total"] == 1
    assert_problem(client.get("/claims/KD-1/images", headers=french), 404)


def test_second_key_of_a_client_sees_what_the_first_uploaded(client: TestClient, make_key: MakeKey) -> None:
    client.headers |= using(make_key("portal", client="de"))
    image = uploaded(client, "KD-1", encoded(drawn(1)))
    rotated = using(make_key("portal", client="de"))
    assert client.get(f"/images/{image['image_id']}", headers=rotated).status_code == 200


def test_portal_key_is_told_of_copies_in_other_clients_claims(client: TestClient, make_key: MakeKey) -> None:
    data = encoded(drawn(1))
    upload(client, "KD-1", data)
    client.headers |= using(make_key("portal", client="de"))
    assert uploaded(client, "KD-2", data)["verdict"] == "same_file"


@pytest.mark.parametrize(
    ("role", "method", "path", "status"),
    [
        ("portal", "GET", "/similar?image_id=x", 403),
        ("portal", "POST", "/similar", 403),
        ("portal", "DELETE", "/images/x", 403),
        ("portal", "DELETE", "/claims/KD-1", 403),
        ("portal", "POST", "/admin/reindex", 403),
        ("portal", "GET", "/jobs/x", 403),
        ("qc", "POST", "/claims/KD-1/images", 403),
        ("qc", "GET", "/similar?image_id=x", 404),
        ("qc", "GET", "/claims/KD-1/images", 404),
        ("qc", "DELETE", "/images/x", 403),
        ("qc", "POST", "/admin/reindex", 403),
        ("portal", "POST", "/jobs/x/cancel", 403),
        ("qc", "POST", "/jobs/x/cancel", 404),
        ("portal", "POST", "/clusters", 403),
        ("portal", "POST", "/templates", 403),
        ("portal", "POST", "/reports/duplicates", 403),
        ("portal", "GET", "/reports/x", 403),
        ("portal", "GET", "/matches/x/overlay.png", 403),
        ("qc", "GET", "/reports/x", 404),
        ("admin", "GET", "/jobs/x", 404),
        ("admin", "DELETE", "/images/x", 404),
    ],
)
def test_role_decides_what_may_be_called(
    client: TestClient, make_key: MakeKey, role: str, method: str, path: str, status: int
) -> None:
    assert_problem(client.request(method, path, headers=using(make_key(role))), status)


def test_body_past_the_limit_is_refused_by_its_stated_length(client: TestClient) -> None:
    headers = {"Content-Length": str(10**12), "Content-Type": "multipart/form-data; boundary=x"}
    members = assert_problem(client.post("/claims/KD-1/images", content=b"", headers=headers), 413)
    assert members["limit"] == 100 * 1024 * 1024


def test_another_clients_words_about_the_same_picture_are_not_told(
    client: TestClient, make_key: MakeKey
) -> None:
    data = encoded(drawn(1))
    client.headers |= using(make_key("portal", client="de"))
    upload(client, "KD-1", data, labels='{"secret": "acme"}')
    client.headers |= using(make_key("portal", client="fr"))
    response = upload(client, "KD-1", data)
    assert response.status_code == 200
    assert response.json()["images"][0]["labels"] == {}
    assert "acme" not in response.text


@pytest.mark.parametrize("length", ["0" * 5000, "9" * 5000, "0" * 5000 + "9" * 20])
def test_absurd_length_is_an_answer_and_no_failure(client: TestClient, length: str) -> None:
    response = client.get("/images/x", headers={"Content-Length": length, "Authorization": "Bearer x"})
    assert response.status_code in (401, 413)


def test_where_an_image_came_from_is_told_to_all_but_portals(
    client: TestClient, make_key: MakeKey, parts: Parts
) -> None:
    source = {"path": "mail.zip", "within": [{"kind": "message", "subject": "Private", "position": 1}]}
    arrival = parts.intake.receive("KD-1", Upload("a.jpg", encoded(drawn(1))))
    parts.intake.store([replace(arrival, source=source)])
    portal, quality = using(make_key("portal")), using(make_key("qc"))
    answer = client.post(
        "/claims/KD-2/images", files={"files": ("b.jpg", encoded(drawn(1), quality=60))}, headers=portal
    )
    image = answer.json()["images"][0]
    paths = (f"/images/{image['image_id']}", f"/images/{image['image_id']}/matches")
    for path in paths:
        assert client.get(path, headers=quality).json()["matches"][0]["source"] == source
        assert client.get(path, headers=portal).json()["matches"][0]["source"] is None
    assert image["matches"][0]["source"] is None
    listed = client.get("/claims/KD-2/images", headers=portal).json()["images"][0]
    assert listed["matches"][0]["source"] is None
    assert client.get(f"/images/{arrival.image_id}", headers=quality).json()["source"] == source
