import time
from typing import Any

import pytest
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.main import application
from app.parts import Parts, make_parts
from app.settings import Settings
from tests.pictures import drawn, encoded
from tests.web.api import assert_problem, upload


def wait_until_ready(client: TestClient, seconds: float = 10.0) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        response = client.get("/readyz")
        if response.status_code == 200:
            return response.json()
        time.sleep(0.05)
    raise AssertionError(response.text)


def test_ready_service_tells_how_much_it_holds(client: TestClient) -> None:
    wait_until_ready(client)
    upload(client, "KD-1", encoded(drawn(1)))
    assert wait_until_ready(client)["images"] == 1


def test_busy_decoders_do_not_make_the_service_unready(client: TestClient, parts: Parts) -> None:
    wait_until_ready(client)
    taken = [parts.intake.decoders._take() for _ in range(2)]
    try:
        assert not parts.intake.decoders.ready(0)
        assert client.get("/readyz").status_code == 200
    finally:
        for process in taken:
            parts.intake.decoders._give_back(process, leaving=False)


def test_health_needs_no_key(client: TestClient) -> None:
    del client.headers["Authorization"]
    wait_until_ready(client)
    assert client.get("/livez").json() == {"status": "alive"}
    assert client.get("/metrics").status_code == 200


def test_server_that_could_lose_a_commit_is_refused(client: TestClient, engine: Engine) -> None:
    wait_until_ready(client)
    with engine.begin() as connection:
        name = connection.execute(text("SELECT current_database()")).scalar()
        connection.execute(text(f"ALTER DATABASE {name} SET synchronous_commit = off"))
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    members = assert_problem(client.get("/readyz"), 503)
    assert "synchronous_commit" in members["detail"]


def test_unknown_schema_is_not_ready(client: TestClient, engine: Engine) -> None:
    wait_until_ready(client)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    assert "schema" in assert_problem(client.get("/readyz"), 503)["detail"]


def test_metrics_count_requests_by_route_and_name_no_claim(client: TestClient) -> None:
    upload(client, "KD-secret", encoded(drawn(1)))
    client.get("/some/path/that/no/route/takes")
    shown = client.get("/metrics").text
    assert 'claimprint_requests_total{method="POST",route="/claims/{claim_id}/images",status="201"}' in shown
    assert "claimprint_images_total" in shown
    assert "KD-secret" not in shown
    assert "some/path" not in shown


@pytest.fixture
def away(settings: Settings, decoders: Any) -> Any:
    """A client of a service whose database is nowhere."""
    parts = make_parts(
        settings.model_copy(update={"database_url": "postgresql+psycopg2://nobody@127.0.0.1:1/none"}),
        decoders=decoders,
    )
    with TestClient(application(parts), raise_server_exceptions=False) as client:
        client.headers["Authorization"] = "Bearer cp_anything"
        yield client
    parts.close()


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/readyz"),
        ("GET", "/similar?image_id=x"),
        ("POST", "/claims/KD-1/images"),
        ("GET", "/images/x"),
    ],
)
def test_database_away_is_503_with_retry_after_within_three_seconds(
    away: TestClient, method: str, path: str
) -> None:
    started = time.monotonic()
    response = away.request(method, path)
    assert time.monotonic() - started < 3
    assert_problem(response, 503)
    assert int(response.headers["retry-after"]) >= 1


def test_service_without_its_database_still_lives(away: TestClient) -> None:
    assert away.get("/livez").status_code == 200


def test_connections_broken_by_the_server_heal_by_themselves(client: TestClient, engine: Engine) -> None:
    wait_until_ready(client)
    for number in range(3):
        with engine.begin() as connection:
            connection.execute(
                text(
                    # Waits for their ends: one that ends while it is being used is a 503.
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        assert upload(client, f"KD-{number}", encoded(drawn(number))).status_code == 201
