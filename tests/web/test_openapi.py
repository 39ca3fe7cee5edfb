"""The API's own description: complete, and true of the models behind it."""

from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.web import examples, pattern_schemas, schemas
from app.web.access import OPEN_PATHS

FILES = {
    "/images/{image_id}/content",
    "/images/{image_id}/hashes.png",
    "/clusters/{cluster_id}/sheet.png",
    "/clusters/{cluster_id}/mean.png",
    "/matches/{match_id}/overlay.png",
    "/templates/{template_id}/content",
    "/templates/{template_id}/sheet.png",
    "/reports/{job_id}",
    "/metrics",
}


@pytest.fixture
def document(client: TestClient) -> dict[str, Any]:
    document: dict[str, Any] = client.get("/openapi.json").json()
    return document


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def test_every_answer_shows_an_example(document: dict[str, Any]) -> None:
    shown = 0
    for method, path, operation in operations(document):
        for status, response in operation["responses"].items():
            if status in ("200", "201", "202") and path not in FILES:
                content = response["content"]["application/json"]
                name = content["schema"].get("$ref", "").rpartition("/")[2]
                assert "example" in content or document["components"]["schemas"][name]["examples"], (
                    method,
                    path,
                )
                shown += 1
    assert shown > 10


@pytest.mark.parametrize(
    "model",
    [
        schemas.Match,
        schemas.UploadAnswer,
        schemas.ImageList,
        schemas.MatchList,
        schemas.SegmentList,
        schemas.SimilarAnswer,
        schemas.Job,
        schemas.ShownTemplate,
        pattern_schemas.Template,
        pattern_schemas.TemplateList,
        pattern_schemas.TemplateMatches,
        pattern_schemas.RunList,
        pattern_schemas.WholeRun,
        pattern_schemas.ClusterList,
        pattern_schemas.WholeCluster,
        pattern_schemas.TrendsAnswer,
    ],
)
def test_examples_are_answers_as_they_go_out(model: Any) -> None:
    (example,) = model.model_json_schema()["examples"]
    assert model.model_validate(example).model_dump(mode="json", exclude_unset=True).keys() == example.keys()
    assert example.keys() == model.model_fields.keys()


def test_example_hangs_together() -> None:
    answer = schemas.UploadAnswer.model_validate(examples.UPLOAD_ANSWER)
    (image,) = answer.images
    assert answer.duplicate
    assert image.verdict == image.matches[0].kind
    assert image.matches_total == len(image.matches)


def test_roles_are_named_where_a_key_is_needed_and_nowhere_else(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if path in OPEN_PATHS:
            assert "security" not in operation
            assert not {"401", "403"} & operation["responses"].keys()
        else:
            ((roles,),) = [scheme.values() for scheme in operation["security"]]
            assert roles[-1] == "admin", (method, path)
            assert {"401", "403", "413"} <= operation["responses"].keys()


def test_claim_id_says_what_it_may_be(document: dict[str, Any]) -> None:
    (parameter,) = document["paths"]["/claims/{claim_id}"]["delete"]["parameters"]
    assert parameter["schema"]["maxLength"] == 64
    assert parameter["schema"]["pattern"].startswith("^[A-Za-z0-9]")


def test_upload_takes_a_form_of_files(document: dict[str, Any]) -> None:
    body = document["paths"]["/claims/{claim_id}/images"]["post"]["requestBody"]["content"]
    assert body["multipart/form-data"]["schema"]["required"] == ["files"]


def test_what_a_cursor_or_a_body_may_be_answered_with_is_told(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        if any(each["name"] == "cursor" for each in operation.get("parameters", ())):
            assert "400" in operation["responses"], (method, path)
        if "requestBody" in operation:
            assert "408" in operation["responses"], (method, path)
        if "multipart/form-data" in operation.get("requestBody", {}).get("content", ()):
            assert {"415", "507"} <= operation["responses"].keys(), (method, path)
