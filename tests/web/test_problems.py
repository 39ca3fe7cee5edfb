import pytest
from starlette.testclient import TestClient

from app import errors
from app.web.problems import STATUSES, slug_of
from tests.pictures import drawn, encoded
from tests.web.api import assert_problem, upload


def subclasses(kind: type[Exception]) -> set[type[Exception]]:
    return {kind}.union(*(subclasses(child) for child in kind.__subclasses__()))


def test_every_error_has_a_status() -> None:
    for kind in subclasses(errors.ClaimprintError) - {errors.ClaimprintError, errors.StartupError}:
        assert any(issubclass(kind, known) for known in STATUSES), kind


def test_a_leaf_of_the_tree_is_listed_before_its_parents() -> None:
    kinds = list(STATUSES)
    for position, kind in enumerate(kinds):
        assert not any(issubclass(later, kind) for later in kinds[position + 1 :]), kind


def test_slug_is_the_class_in_words() -> None:
    assert slug_of(errors.PictureTooLarge) == "picture-too-large"


@pytest.mark.parametrize(
    "claim_id", ["%00", "%20", "-x", ".x", "a" * 65, "a%0A", "é", "a%5Cb", "a:b", "%F0%9F%98%80", "a%0d%0ab"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_claim_id_out_of_form_is_named(client: TestClient, claim_id: str, method: str) -> None:
    members = assert_problem(client.request(method, f"/claims/{claim_id}/images"), 422, "claim_id")
    assert members["limit"] == 64


@pytest.mark.parametrize("claim_id", ["a", "0", "A.b_c-9", "a" * 64])
def test_claim_id_within_form_is_taken(client: TestClient, claim_id: str) -> None:
    assert upload(client, claim_id, encoded(drawn(1))).status_code == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("PUT", "/claims/KD-1/images", 405),
        ("POST", "/livez", 405),
        ("BREW", "/similar", 405),
        ("GET", "/claims/a/b/images", 404),
    ],
)
def test_wrong_place_or_method_is_a_problem_too(
    client: TestClient, method: str, path: str, status: int
) -> None:
    assert_problem(client.request(method, path), status)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("text/plain", b"x"),
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=", b"x"),
        ("multipart/form-data; boundary=b", b""),
        ("multipart/form-data; boundary=b", b"nonsense"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="files"\r\n\r\nx\r\n--b--\r\n',
        ),
        (
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="other"; filename="x"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=" + "b" * 5000, b"x"),
        ("multipart/form-data; boundary=b; charset=nonsense", b"--b--\r\n"),
        (
            "multipart/form-data; boundary=b; charset=undefined",
            b'--b\r\nContent-Disposition: form-data; name="files"; filename="x"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-dataX; boundary=b", b"--b--\r\n"),
    ],
)
def test_body_that_is_no_form_with_files_is_refused(
    client: TestClient, content_type: str, body: bytes
) -> None:
    response = client.post("/claims/KD-1/images", content=body, headers={"Content-Type": content_type})
    assert_problem(response, 422)


def test_request_without_content_type_is_refused(client: TestClient) -> None:
    assert_problem(client.post("/claims/KD-1/images"), 422, "content-type")


def test_form_that_breaks_off_is_refused_whole(client: TestClient) -> None:
    whole = encoded(drawn(1))
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="%d.jpg"\r\n\r\n'
    body = head % 1 + whole + b"\r\n" + head % 2 + whole[:100]
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    assert_problem(client.post("/claims/KD-1/images", content=body, headers=headers), 422, "body")
    assert_problem(client.get("/claims/KD-1/images"), 404)


def test_field_and_limit_are_of_the_same_error(client: TestClient) -> None:
    params = {"image_id": "x", "max_distance": "x", "limit": "201"}
    members = assert_problem(client.get("/similar", params=params), 422, "max_distance")
    assert "limit" not in members
    assert [each["field"] for each in members["errors"]] == ["max_distance", "limit"]
    del params["max_distance"]
    assert assert_problem(client.get("/similar", params=params), 422, "limit")["limit"] == 200


def test_too_many_files_are_refused_whole(client: TestClient) -> None:
    for count in (21, 40):
        assert assert_problem(upload(client, "KD-1", *[b"x"] * count), 413, "files")["limit"] == 20


def test_unknown_part_is_named(client: TestClient) -> None:
    assert_problem(upload(client, "KD-1", encoded(drawn(1)), label="{}"), 422, "label")


def test_file_past_its_limit_is_rejected(client: TestClient) -> None:
    picture = encoded(drawn(1))
    response = upload(client, "KD-1", picture + b"\0" * (25 * 1024 * 1024), picture)
    assert response.status_code == 201
    (rejected,) = response.json()["rejected"]
    assert rejected["problem"]["status"] == 413
    assert rejected["problem"]["limit"] == 25 * 1024 * 1024
