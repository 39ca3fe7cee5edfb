"""Short words for what most tests of the API do."""

import time
from typing import Any

from starlette.testclient import TestClient


def upload(client: TestClient, claim: str, *files: bytes, **fields: str) -> Any:
    """POST files to a claim; the response."""
    parts = [("files", (f"{number}.jpg", data)) for number, data in enumerate(files)]
    return client.post(f"/claims/{claim}/images", files=parts, data=fields)


def uploaded(client: TestClient, claim: str, data: bytes) -> Any:
    """POST one file to a claim; its image object."""
    response = upload(client, claim, data)
    assert response.status_code in (200, 201), response.text
    return response.json()["images"][0]


def assert_problem(response: Any, status: int, field: str | None = None) -> Any:
    """Check that a response is a problem of that status about that field; its members."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    members = response.json()
    assert members["status"] == status
    assert members["title"]
    assert members["detail"]
    if field is not None:
        assert members["field"] == field
    return members


def finished(client: TestClient, job_id: str, seconds: float = 30.0) -> Any:
    """Wait for a job to end; its members."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        job = client.get(f"/jobs/{job_id}").json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"job still {job}")
