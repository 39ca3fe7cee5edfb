"""Pictures that are drawn: what is read for them is read in no transaction, which may not be idle for long."""

import json
import threading
from collections import defaultdict
from typing import Any
from uuid import UUID

import pytest
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from sqlalchemy import event
from starlette.testclient import TestClient

from app.parts import Parts
from app.storage.local import LocalPictures
from tests.pictures import encoded, photo
from tests.web.api import finished, uploaded


@pytest.fixture
def reads(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each time that pictures were read, whether the reader was in no transaction."""
    held: dict[int, set[Any]] = defaultdict(set)
    idle: list[bool] = []

    def took(connection: Any, *_more: object) -> None:
        held[threading.get_ident()].add(connection)

    def gave_back(connection: Any, *_more: object) -> None:
        held[threading.get_ident()].discard(connection)

    event.listen(parts.engine, "checkout", took)
    event.listen(parts.engine, "checkin", gave_back)

    read = LocalPictures.read_rendition

    def watched(self: LocalPictures, picture_id: UUID) -> bytes:
        own = held[threading.get_ident()]
        idle.append(all(each.get_transaction_status() == TRANSACTION_STATUS_IDLE for each in own))
        return read(self, picture_id)

    monkeypatch.setattr(LocalPictures, "read_rendition", watched)
    return idle


def test_pictures_are_read_in_no_transaction(client: TestClient, reads: list[bool]) -> None:
    first, second = (uploaded(client, claim, encoded(photo())) for claim in ("KD-1", "KD-2"))
    template = client.post(
        "/templates",
        files={"file": ("template.jpg", encoded(photo()))},
        data={"name": "photo", "fingerprint": "phash"},
    ).json()
    asked = {"fingerprint": "phash", "min_size": 2}
    for job in (template, client.post("/clusters", content=json.dumps(asked)).json()):
        finished(client, job["job_id"])
    (cluster,) = client.get("/clusters").json()["clusters"]
    paths = [
        f"/images/{first['image_id']}/hashes.png",
        f"/images/{first['image_id']}/hashes.png?other={second['image_id']}",
        f"/matches/{second['matches'][0]['match_id']}/overlay.png",
        f"/clusters/{cluster['cluster_id']}/sheet.png",
        f"/clusters/{cluster['cluster_id']}/mean.png",
        f"/templates/{template['template_id']}/sheet.png",
    ]
    for path in paths:
        reads.clear()
        response = client.get(path)
        assert response.status_code == 200, (path, response.text)
        assert reads, path
        assert all(reads), path
