import datetime as dt
import io
import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from PIL import Image
from sqlalchemy import Engine, text
from starlette.testclient import TestClient

from app.catalog import clusters as stored
from app.catalog import jobs, occurrences
from app.parts import Parts
from tests.pictures import drawn, encoded, surface
from tests.test_clustering import A, B, C, add
from tests.web.api import assert_problem, finished, upload

MakeKey = Callable[..., str]

PAIRS = {"fingerprint": "phash", "max_distance": 4, "min_size": 2}


def using(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def cluster(client: TestClient, **body: Any) -> Any:
    """Have a job cluster pairs by `phash`, or as told; its result."""
    response = client.post("/clusters", json=PAIRS | body)
    assert response.status_code == 202, response.text
    job = finished(client, response.json()["job_id"])
    assert job["state"] == "succeeded", job
    return job["result"]


def listed(client: TestClient, **params: Any) -> Any:
    response = client.get("/clusters", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def sizes(answer: Any) -> list[int]:
    return [each["found"]["images"] for each in answer["clusters"]]


def on(engine: Engine, code: int, *days: str, **labels: Any) -> list[UUID]:
    """Images with that code, one claimed on each of the days."""
    return [add(engine, code, labels=labels | {"claimed_at": day})[0] for day in days]


def days_after(first: str, *numbers: int) -> list[str]:
    return [(dt.date.fromisoformat(first) + dt.timedelta(days=number)).isoformat() for number in numbers]


# Starting.


def test_without_more_said_surfaces_are_clustered_by_pattern(client: TestClient) -> None:
    response = client.post("/clusters", json={})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['job_id']}"
    assert (job["kind"], job["state"]) == ("clusters", "queued")
    assert job["params"] == {
        "fingerprint": "pattern",
        "linkage": "medoid",
        "max_distance": 72,
        "min_size": 5,
        "filter": {},
    }
    job = finished(client, job["job_id"])
    assert job["state"] == "succeeded"
    assert {**job["result"], "run_id": ""} == {
        "run_id": "",
        "images": 0,
        "clusters": 0,
        "outside": 0,
        "left_out": {"not_computed_yet": 0, "low_information": 0},
        "ended": 0,
    }


def test_a_body_is_not_needed(client: TestClient) -> None:
    response = client.post("/clusters")
    assert response.status_code == 202, response.text
    assert response.json()["params"]["fingerprint"] == "pattern"


@pytest.mark.parametrize(
    ("body", "params"),
    [
        ({"looseness": "loose"}, {"max_distance": 80}),
        ({"fingerprint": "phash"}, {"max_distance": 8, "min_size": 5}),
        ({"fingerprint": "phash", "linkage": "single"}, {"max_distance": 4, "min_size": 2}),
        ({"fingerprint": "dhash", "linkage": "single", "max_distance": 8}, {"max_distance": 8}),
        ({"max_distance": 0}, {"max_distance": 0}),
        ({"max_distance": 256}, {"max_distance": 256}),
        ({"fingerprint": "colorhash", "max_distance": 98}, {"max_distance": 98}),
        ({"min_size": 1_000_000}, {"min_size": 1_000_000}),
        (
            {"labels": {"plant": "B", "n": 1}, "from": "2026-01-01", "to": "2026-01-01"},
            {"filter": {"labels": {"n": 1, "plant": "B"}, "from": "2026-01-01", "to": "2026-01-01"}},
        ),
    ],
)
def test_what_is_asked_is_what_the_job_is_told(
    client: TestClient, body: dict[str, Any], params: dict[str, Any]
) -> None:
    response = client.post("/clusters", json=body)
    assert response.status_code == 202, response.text
    told = response.json()["params"]
    assert told | params == told
    job = finished(client, response.json()["job_id"])
    assert job["state"] == "succeeded", job["error"]
    run = listed(client)["run"]
    assert {name: run[name] for name in told} == told


def test_quality_control_starts_sees_and_cancels_such_jobs(
    client: TestClient, make_key: MakeKey, engine: Engine
) -> None:
    key = using(make_key("qc", "quality"))
    response = client.post("/clusters", json={}, headers=key)
    assert response.status_code == 202
    assert "quality" in response.json()["requested_by"]
    job_id = response.json()["job_id"]
    assert client.get(f"/jobs/{job_id}", headers=key).status_code == 200
    assert client.post(f"/jobs/{job_id}/cancel", headers=key).status_code == 202
    assert finished(client, job_id)["state"] in ("cancelled", "succeeded")
    with engine.connect() as connection:
        logged = connection.execute(text("SELECT actor, action, subject FROM event ORDER BY id")).all()
    assert [row.action for row in logged if row.subject == job_id] == ["clusters", "job.cancel"]
    assert len({row.actor for row in logged if row.subject == job_id}) == 1


def test_quality_control_may_not_see_or_cancel_a_reindex(client: TestClient, make_key: MakeKey) -> None:
    job_id = client.post("/admin/reindex").json()["job_id"]
    key = using(make_key("qc"))
    assert_problem(client.get(f"/jobs/{job_id}", headers=key), 403)
    assert_problem(client.post(f"/jobs/{job_id}/cancel", headers=key), 403)
    assert finished(client, job_id)["state"] == "succeeded"
    unknown = str(uuid4())
    assert_problem(client.get(f"/jobs/{unknown}", headers=key), 404)


def test_a_second_job_at_the_same_time_is_a_conflict(client: TestClient, engine: Engine) -> None:
    with engine.begin() as connection:
        job = jobs.create_job(connection, kind="clusters", params={}, requested_by="test")
        connection.execute(text("UPDATE job SET state = 'running', heartbeat_at = clock_timestamp()"))
    members = assert_problem(client.post("/clusters", json={}), 409)
    assert str(job.job_id) in members["detail"]


WRONG: list[tuple[bytes | dict[str, Any], str]] = [
    ({"max_distance": 70, "looseness": "usual"}, "looseness"),
    ({"looseness": "very"}, "looseness"),
    ({"looseness": 1}, "looseness"),
    ({"linkage": "single"}, "fingerprint"),
    ({"linkage": "single", "fingerprint": "colorhash"}, "fingerprint"),
    ({"linkage": "complete"}, "linkage"),
    ({"fingerprint": "segments"}, "fingerprint"),
    ({"fingerprint": ["pattern"]}, "fingerprint"),
    ({"fingerprint": "\ud800"}, "fingerprint"),
    ({"max_distance": 257}, "max_distance"),
    ({"max_distance": -1}, "max_distance"),
    ({"max_distance": 10**400}, "max_distance"),
    ({"max_distance": 8.0}, "max_distance"),
    ({"max_distance": "8"}, "max_distance"),
    ({"max_distance": True}, "max_distance"),
    ({"max_distance": [8]}, "max_distance"),
    ({"fingerprint": "phash", "max_distance": 65}, "max_distance"),
    ({"fingerprint": "colorhash", "max_distance": 99}, "max_distance"),
    ({"fingerprint": "phash", "linkage": "single", "max_distance": 9}, "max_distance"),
    ({"min_size": 1}, "min_size"),
    ({"min_size": 0}, "min_size"),
    ({"min_size": 1_000_001}, "min_size"),
    ({"min_size": "5"}, "min_size"),
    ({"min_size": True}, "min_size"),
    (b'{"min_size": 1e400}', "min_size"),
    ({"minsize": 5}, "minsize"),
    ({"from_day": "2026-01-01"}, "from_day"),
    ({"from": "2026-02-01", "to": "2026-01-31"}, "from"),
    ({"from": "2026-02-30"}, "from"),
    ({"from": "2026-1-1"}, "from"),
    ({"from": "2026-11-26T00:00:00Z"}, "from"),
    ({"from": "\u06622026-01-01"}, "from"),
    ({"from": "infinity"}, "from"),
    ({"from": 20260101}, "from"),
    ({"to": True}, "to"),
    ({"to": "0000-01-01"}, "to"),
    ({"labels": {"plant": {"name": "B"}}}, "labels.plant"),
    ({"labels": {"plant": ["B"]}}, "labels.plant"),
    ({"labels": {"plant": None}}, "labels.plant"),
    ({"labels": {"plant": "\0"}}, "labels.plant"),
    ({"labels": {"plant": "\ud800"}}, "labels.plant"),
    ({"labels": {"plant": "x" * 257}}, "labels.plant"),
    ({"labels": {"plant": 1e308}}, "labels.plant"),
    ({"labels": {"plant": 10**400}}, "labels.plant"),
    (b'{"labels": {"plant": 1e400}}', "labels.plant"),
    ({"labels": {"": "B"}}, "labels"),
    ({"labels": {str(number): 1 for number in range(33)}}, "labels"),
    ({"labels": ["plant"]}, "labels"),
    ({"labels": "plant"}, "labels"),
    ({"labels": None}, "labels"),
    (b"null", "body"),
    (b"[]", "body"),
    (b"5", "body"),
    (b"NaN", "body"),
    (b'{"min_size": NaN}', "body"),
    (b'{"max_distance": -Infinity}', "body"),
    (b'{"min_size": 5', "body"),
    (b'{"min_size": 1' + b"0" * 5000 + b"}", "body"),
    (b"\xff\xfe\x00", "body"),
    (b"[" * 30_000 + b"]" * 30_000, "body"),
    (b'{"labels":' * 900 + b"{}" + b"}" * 900, "labels.labels"),
]


def test_wrong_values_are_refused_and_named(client: TestClient, engine: Engine) -> None:
    for body, field in WRONG:
        # In ASCII alone: half a surrogate pair can be told in no other way.
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        assert_problem(client.post("/clusters", content=content), 422, field)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM job WHERE kind = 'clusters'")).scalar_one() == 0


def test_too_long_a_body_is_refused(client: TestClient) -> None:
    assert_problem(client.post("/clusters", content=b" " * 70_000 + b"{}"), 413)


# Listing.


def test_largest_clusters_come_first(client: TestClient, engine: Engine) -> None:
    add(engine, A, A)
    add(engine, B, B, B, B)
    add(engine, C, C, C)
    result = cluster(client)
    answer = listed(client)
    assert sizes(answer) == [4, 3, 2]
    assert answer["total"] == 3
    assert answer["next_cursor"] is None
    assert answer["run"]["run_id"] == result["run_id"]
    assert [each["cohesion"] for each in answer["clusters"]] == [1, 1, 1]


def test_growth_is_of_the_newest_four_weeks_against_the_four_before(
    client: TestClient, engine: Engine
) -> None:
    # The newest day is 2026-11-26: the four weeks begin with 2026-10-30, those before with 2026-10-02.
    on(engine, A, "2026-11-26", "2026-10-30", "2026-10-29", "2026-10-02", "2026-10-01", "2026-10-01")
    on(engine, B, "2026-11-20", "2026-10-30")
    on(engine, C, "2026-10-29", "2026-10-28", "2026-01-01")
    cluster(client)
    growing = listed(client, sort="growing")
    found = [each["found"] for each in growing["clusters"]]
    assert [(each["images"], each["recent"], each["before"]) for each in found] == [
        (2, 2, 0),
        (6, 2, 2),
        (3, 0, 2),
    ]
    assert sizes(listed(client, sort="largest")) == [6, 3, 2]


def test_growth_under_a_filter_is_of_the_images_of_the_filter(client: TestClient, engine: Engine) -> None:
    on(engine, A, "2026-11-26", "2026-11-26", plant="B")
    on(engine, A, "2026-06-01", "2026-05-31", plant="C")
    on(engine, B, "2026-06-02", "2026-05-01", "2026-05-02", plant="C")
    cluster(client)
    answer = listed(client, sort="growing", labels='{"plant": "C"}')
    # Of plant C the newest day is 2026-06-02: the four weeks begin with 2026-05-06.
    assert [
        (each["found"]["images"], each["found"]["recent"], each["found"]["before"])
        for each in answer["clusters"]
    ] == [(2, 2, 0), (3, 1, 2)]


def test_a_cluster_alone_has_the_growth_that_it_has_in_the_list(client: TestClient, engine: Engine) -> None:
    on(engine, A, "2026-11-26", "2026-11-25")
    on(engine, B, "2026-06-01", "2026-06-02", "2026-04-30")
    cluster(client)
    for each in listed(client)["clusters"]:
        alone = client.get(f"/clusters/{each['cluster_id']}").json()
        assert alone["found"] == each["found"]
    assert [each["found"]["recent"] for each in listed(client)["clusters"]] == [0, 2]


def test_a_claim_dated_in_the_future_does_not_hide_what_grows(client: TestClient, engine: Engine) -> None:
    today = dt.datetime.now(dt.UTC).date().isoformat()
    on(engine, A, *days_after(today, 0, -1, -2, -3))
    on(engine, B, *days_after(today, 0), "9999-12-31")
    cluster(client)
    assert listed(client, sort="growing")["clusters"][0]["found"]["recent"] == 4


def test_pages_give_all_clusters_once_in_both_orders(client: TestClient, engine: Engine) -> None:
    codes = [0x0F << shift for shift in range(0, 64, 8)]
    for number, code in enumerate(codes):
        on(engine, code, *days_after("2026-11-01", *range(2 + number % 3)))
    cluster(client, max_distance=0)
    for sort in ("largest", "growing"):
        whole = listed(client, sort=sort)["clusters"]
        assert len(whole) == 8
        pages, cursor = [], None
        while len(pages) < 10:
            answer = listed(client, sort=sort, limit=3, **({"cursor": cursor} if cursor else {}))
            assert answer["total"] == 8
            pages.append(answer["clusters"])
            cursor = answer["next_cursor"]
            if cursor is None:
                break
        assert [len(page) for page in pages] == [3, 3, 2]
        assert [each for page in pages for each in page] == whole
    exact = listed(client, limit=8)
    assert exact["next_cursor"] is None


def test_a_cursor_is_of_one_run_order_and_filter(client: TestClient, engine: Engine) -> None:
    add(engine, A, A, labels={"plant": "B", "count": 1})
    add(engine, B, B, labels={"plant": "B", "count": 1})
    run_id = cluster(client)["run_id"]
    other = cluster(client, fingerprint="dhash")["run_id"]
    cursor = listed(client, limit=1, run_id=run_id)["next_cursor"]
    assert len(listed(client, limit=1, run_id=run_id, cursor=cursor)["clusters"]) == 1
    for params in (
        {},
        {"run_id": other},
        {"run_id": run_id, "sort": "growing"},
        {"run_id": run_id, "labels": '{"plant": "B"}'},
        {"run_id": run_id, "from": "2020-01-01"},
        {"run_id": run_id, "to": "2030-01-01"},
    ):
        assert_problem(client.get("/clusters", params=params | {"cursor": cursor}), 400, "cursor")
    for broken in ("", "x", "\u2603", cursor[:-1], cursor + "AAAA", cursor[::-1]):
        params = {"run_id": run_id, "cursor": broken}
        assert_problem(client.get("/clusters", params=params), 400, "cursor")
    by_count = listed(client, limit=1, run_id=run_id, labels='{"count": 1}')["next_cursor"]
    for count in ('"1"', "true"):
        params = {"run_id": run_id, "labels": f'{{"count": {count}}}', "cursor": by_count}
        assert_problem(client.get("/clusters", params=params), 400, "cursor")


def test_a_cursor_of_a_run_that_was_replaced_is_refused(client: TestClient, engine: Engine) -> None:
    add(engine, A, A, B, B)
    cluster(client)
    cursor = listed(client, limit=1)["next_cursor"]
    first = listed(client)["clusters"][0]["cluster_id"]
    members = client.get(f"/clusters/{first}", params={"limit": 1}).json()["next_cursor"]
    cluster(client)
    assert_problem(client.get("/clusters", params={"limit": 1, "cursor": cursor}), 400, "cursor")
    assert_problem(client.get(f"/clusters/{first}", params={"limit": 1, "cursor": members}), 400, "cursor")


def test_shares_of_labels_are_of_all_images_of_the_cluster(client: TestClient, engine: Engine) -> None:
    add(engine, A, labels={"plant": "B", "count": 1, "claimed_at": "2026-11-26"})
    add(engine, A, labels={"plant": "B", "count": "1"})
    add(engine, A, labels={"plant": "C", "count": True, "größe": 1.5})
    add(engine, A)
    cluster(client)
    (each,) = listed(client)["clusters"]
    labels = each["found"]["labels"]
    assert labels["plant"] == [
        {"value": "B", "images": 2, "share": 0.5},
        {"value": "C", "images": 1, "share": 0.25},
    ]
    assert labels["größe"] == [{"value": 1.5, "images": 1, "share": 0.25}]
    assert sorted(repr(count["value"]) for count in labels["count"]) == ["'1'", "1", "True"]
    assert "claimed_at" not in labels
    (each,) = listed(client, labels='{"plant": "B"}')["clusters"]
    assert each["found"]["labels"]["plant"] == [{"value": "B", "images": 2, "share": 1.0}]
    assert (each["found"]["images"], each["found"]["claims"]) == (2, 2)


def test_twenty_values_of_a_label_are_told(client: TestClient, engine: Engine) -> None:
    for number in range(23):
        add(engine, A, labels={"serial": number})
    add(engine, A, labels={"serial": 22})
    cluster(client)
    (each,) = listed(client)["clusters"]
    values = each["found"]["labels"]["serial"]
    assert len(values) == 20
    assert values[0] == {"value": 22, "images": 2, "share": round(2 / 24, 4)}


def test_first_and_last_day_are_of_the_label_or_else_of_the_upload(
    client: TestClient, engine: Engine
) -> None:
    on(engine, A, "2026-01-02T23:00:00-05:00", "2025-12-31", "2026-01-01")
    on(engine, B, "2026-02-30", "infinity", "9999-13-01")
    cluster(client)
    by_label, by_upload = (each["found"] for each in listed(client)["clusters"])
    assert {(each["first_day"], each["last_day"]) for each in (by_label, by_upload)} == {
        ("2025-12-31", "2026-01-02"),
        (dt.datetime.now(dt.UTC).date().isoformat(),) * 2,
    }


def test_a_filter_leaves_out_clusters_without_such_images(client: TestClient, engine: Engine) -> None:
    on(engine, A, "2026-01-01", "2026-01-02", "2026-01-03", plant="B")
    on(engine, B, "2026-01-03", "2026-01-04", plant="C")
    cluster(client)
    for params, expected in (
        ({"labels": '{"plant": "C"}'}, [2]),
        ({"from": "2026-01-03"}, [2, 1]),
        ({"to": "2026-01-02"}, [2]),
        ({"from": "2026-01-03", "to": "2026-01-03"}, [1, 1]),
        ({"labels": '{"plant": "C"}', "to": "2026-01-02"}, []),
    ):
        answer = listed(client, **params)
        assert sizes(answer) == expected
        assert answer["total"] == len(expected)


def test_before_the_first_run_there_are_no_clusters_to_list(client: TestClient) -> None:
    assert_problem(client.get("/clusters"), 404, "run_id")
    assert client.get("/clusters/runs").json() == {"runs": []}


def test_a_run_that_is_unknown_or_replaced_is_not_found(client: TestClient, engine: Engine) -> None:
    add(engine, A, A)
    old = cluster(client)["run_id"]
    new = cluster(client)["run_id"]
    assert listed(client, run_id=new)["run"]["run_id"] == new
    for run_id in (old, str(uuid4()), "x", "", new.upper()):
        assert_problem(client.get("/clusters", params={"run_id": run_id}), 404, "run_id")
        assert_problem(client.get("/patterns/trends", params={"run_id": run_id}), 404, "run_id")


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 201}, "limit"),
        ({"limit": "\u0663"}, "limit"),
        ({"sort": "smallest"}, "sort"),
        ({"labels": "{"}, "labels"),
        ({"labels": "null"}, "labels"),
        ({"labels": '{"a": NaN}'}, "labels"),
        ({"labels": '{"a": 1e308}'}, "labels.a"),
        ({"labels": '{"a": "\\u0000"}'}, "labels.a"),
        ({"labels": '{"a": {}}'}, "labels.a"),
        ({"from": "2026-01-02", "to": "2026-01-01"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"to": ""}, "to"),
        ({"from_day": "2026-01-01"}, "from_day"),
        ({"plant": "B"}, "plant"),
    ],
)
def test_wrong_parameters_are_refused_and_named(
    client: TestClient, params: dict[str, Any], field: str
) -> None:
    assert_problem(client.get("/clusters", params=params), 422, field)


def test_the_newest_run_of_each_question_is_listed(client: TestClient, engine: Engine) -> None:
    add(engine, A, A, B, B)
    first = cluster(client)["run_id"]
    second = cluster(client, labels={"plant": "B"})["run_id"]
    third = cluster(client, min_size=3)["run_id"]
    runs = client.get("/clusters/runs").json()["runs"]
    assert [run["run_id"] for run in runs] == [third, second]
    assert first not in {run["run_id"] for run in runs}
    assert (runs[0]["min_size"], runs[0]["outside"], runs[0]["ended_total"]) == (3, 4, 2)
    assert runs[1]["filter"] == {"labels": {"plant": "B"}}
    assert listed(client)["run"] == runs[0]
    assert listed(client, run_id=second)["run"] == runs[1]


# One cluster.


def test_members_come_nearest_first_and_once_over_all_pages(client: TestClient, engine: Engine) -> None:
    images = add(engine, *[A] * 5, *[0b1] * 3, *[0b11] * 2, 0b11100, 0b10000000)
    cluster(client)
    (each,) = listed(client)["clusters"]
    path = f"/clusters/{each['cluster_id']}"
    whole = client.get(path).json()
    order = [str(image) for image in (*images[:8], images[11], *images[8:11])]
    assert [member["image_id"] for member in whole["members"]] == order
    assert [member["distance"] for member in whole["members"]] == [0] * 5 + [1] * 4 + [2] * 2 + [3]
    assert {name: whole[name] for name in each} == each
    assert whole["medoid"] == str(images[0])
    for limit in (1, 2, 5, 11, 12):
        members, cursor = [], None
        while len(members) <= 12:
            params = {"limit": limit} | ({"cursor": cursor} if cursor else {})
            page = client.get(path, params=params).json()
            assert len(page["members"]) <= limit
            members += page["members"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert members == whole["members"]


def test_a_member_is_shown_with_its_claim_labels_and_time(client: TestClient, engine: Engine) -> None:
    image, _ = add(engine, A, A, labels={"plant": "B", "count": 1.5})
    cluster(client)
    (each,) = listed(client)["clusters"]
    member = client.get(f"/clusters/{each['cluster_id']}").json()["members"][0]
    shown = client.get(f"/images/{image}").json()
    assert {name: member[name] for name in ("image_id", "claim_id", "uploaded_at", "labels")} == {
        name: shown[name] for name in ("image_id", "claim_id", "uploaded_at", "labels")
    }


def test_members_of_a_filter_are_counted_and_paged(client: TestClient, engine: Engine) -> None:
    add(engine, A, A, labels={"plant": "C"})
    images = add(engine, 0b11, 0b1, 0b1, labels={"plant": "B"})
    cluster(client)
    (each,) = listed(client)["clusters"]
    path, params = f"/clusters/{each['cluster_id']}", {"labels": '{"plant": "B"}', "limit": 2}
    first = client.get(path, params=params).json()
    second = client.get(path, params=params | {"cursor": first["next_cursor"]}).json()
    shown = [member["image_id"] for page in (first, second) for member in page["members"]]
    assert shown == [str(images[place]) for place in (1, 2, 0)]
    assert first["found"]["images"] == 3
    assert first["cohesion"] == round(1 - (4 / 3) / 32, 4)
    other = {"limit": 2, "cursor": first["next_cursor"]}
    assert_problem(client.get(path, params=other), 400, "cursor")


def test_an_image_deleted_between_pages_shifts_none_of_the_others(client: TestClient, engine: Engine) -> None:
    images = add(engine, *[A] * 6)
    cluster(client)
    (each,) = listed(client)["clusters"]
    path = f"/clusters/{each['cluster_id']}"
    first = client.get(path, params={"limit": 3}).json()
    for image in (images[0], images[2], images[4]):
        assert client.delete(f"/images/{image}").status_code == 204
    second = client.get(path, params={"limit": 3, "cursor": first["next_cursor"]}).json()
    assert [member["image_id"] for member in second["members"]] == [str(images[3]), str(images[5])]
    assert second["medoid"] is None
    assert second["found"]["images"] == 3
    assert sizes(listed(client)) == [3]


def test_an_unknown_cluster_is_not_found(client: TestClient, engine: Engine) -> None:
    add(engine, A, A)
    cluster(client)
    known = listed(client)["clusters"][0]["cluster_id"]
    for cluster_id in (str(uuid4()), "x", known.upper(), known.replace("-", "")):
        for end in ("", "/sheet.png", "/mean.png"):
            assert_problem(client.get(f"/clusters/{cluster_id}{end}"), 404, "cluster_id")


def test_a_cluster_that_ended_is_not_found(client: TestClient, engine: Engine) -> None:
    add(engine, A, A)
    cluster(client)
    old = listed(client)["clusters"][0]["cluster_id"]
    cluster(client, min_size=3)
    assert_problem(client.get(f"/clusters/{old}"), 404, "cluster_id")
    run = listed(client)["run"]
    assert run["ended_total"] == 1
    whole = client.get(f"/clusters/runs/{run['run_id']}").json()
    assert whole == run | {"ended": [{"cluster_id": old, "went_to": []}]}


@pytest.mark.parametrize(
    ("module", "name"),
    [(stored, "by_row_id"), (stored, "run_of"), (occurrences, "summaries"), (occurrences, "nearest_members")],
)
def test_a_run_that_is_replaced_while_it_is_read_is_no_failure(
    client: TestClient, engine: Engine, monkeypatch: pytest.MonkeyPatch, module: Any, name: str
) -> None:
    """Another connection takes the run away between two statements of a request."""
    add(engine, A, A, labels={"plant": "B"})
    read = getattr(module, name)

    def late(*args: Any, **options: Any) -> Any:
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM cluster_run"))
        return read(*args, **options)

    for path in ("/clusters", "/clusters/{}", "/clusters/{}/sheet.png", "/patterns/trends"):
        cluster(client)
        cluster_id = listed(client)["clusters"][0]["cluster_id"]
        with monkeypatch.context() as patch:
            patch.setattr(module, name, late)
            assert client.get(path.format(cluster_id)).status_code in (200, 404), path


# Pictures.


def png(response: Any) -> Image.Image:
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    assert "no-store" in response.headers["cache-control"]
    assert response.headers["x-content-type-options"] == "nosniff"
    picture = Image.open(io.BytesIO(response.content))
    assert picture.format == "PNG"
    return picture


def upload_all(client: TestClient, *pictures: Image.Image, labels: str = "{}") -> list[str]:
    ids = []
    for picture in pictures:
        response = upload(client, f"KD-{uuid4().hex[:8]}", encoded(picture), labels=labels)
        assert response.status_code == 201, response.text
        ids.append(response.json()["images"][0]["image_id"])
    return ids


def test_surfaces_alike_are_one_cluster_with_a_sheet_and_a_mean(client: TestClient) -> None:
    whole = surface(1, (900, 600))
    parts_of_it = [
        whole.crop((left, top, left + 400, top + 300)) for left in (0, 300, 500) for top in (0, 200)
    ]
    images = upload_all(client, *parts_of_it)
    upload_all(client, *(surface(seed, (400, 300), period=11 + 4 * seed) for seed in (2, 3, 4)))
    job = finished(client, client.post("/clusters", json={}).json()["job_id"])
    assert job["result"]["images"] == 9
    (each,) = listed(client)["clusters"]
    members = client.get(f"/clusters/{each['cluster_id']}").json()["members"]
    assert {member["image_id"] for member in members} == set(images)
    assert 0 < each["cohesion"] < 1
    assert png(client.get(f"/clusters/{each['cluster_id']}/sheet.png")).width > 6 * 144
    assert png(client.get(f"/clusters/{each['cluster_id']}/mean.png")).size == (256, 256)


def test_the_mean_of_equal_pictures_is_that_picture(client: TestClient, parts: Parts) -> None:
    images = upload_all(client, *[drawn(1)] * 3)
    other = upload_all(client, drawn(2), drawn(2), labels='{"plant": "B"}')
    cluster(client)
    for (image, *_), each in zip((images, other), listed(client)["clusters"], strict=True):
        shown = png(client.get(f"/clusters/{each['cluster_id']}/mean.png"))
        rendition = Image.open(parts.pictures.files(UUID(image)).rendition)
        expected = rendition.convert("RGB").resize((256, 256), Image.Resampling.BILINEAR)
        assert (np.asarray(shown) == np.asarray(expected)).all()
    cluster_id = listed(client)["clusters"][1]["cluster_id"]
    for end in ("sheet.png", "mean.png"):
        path = f"/clusters/{cluster_id}/{end}"
        assert png(client.get(path, params={"labels": '{"plant": "B"}'}))
        assert_problem(client.get(path, params={"labels": '{"plant": "C"}'}), 404)


def test_the_sheet_shows_48_at_most(client: TestClient, parts: Parts, engine: Engine) -> None:
    images = add(engine, *[A] * 50)
    data = encoded(drawn(1))
    for image in images:
        path = parts.pictures.files(image).rendition
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    cluster(client)
    (each,) = listed(client)["clusters"]
    sheet = png(client.get(f"/clusters/{each['cluster_id']}/sheet.png"))
    assert sheet.size == (8 * 154 + 10, 6 * 170 + 10)


@pytest.mark.parametrize("end", ["sheet.png", "mean.png"])
def test_without_the_files_there_is_nothing_to_draw(client: TestClient, engine: Engine, end: str) -> None:
    add(engine, A, A)
    cluster(client)
    (each,) = listed(client)["clusters"]
    assert_problem(client.get(f"/clusters/{each['cluster_id']}/{end}"), 404)


# Weeks.


def trends(client: TestClient, **params: Any) -> Any:
    response = client.get("/patterns/trends", params=params)
    assert response.status_code == 200, response.text
    return response.json()


def test_images_are_counted_by_week_over_the_end_of_a_year(client: TestClient, engine: Engine) -> None:
    on(
        engine,
        A,
        "2025-12-28",
        "2025-12-29",
        "2025-12-31",
        "2026-01-01",
        "2026-01-04",
        "2026-01-05",
        "2026-01-18",
    )
    on(engine, B, "2026-01-04", "2025-12-01")
    run_id = cluster(client)["run_id"]
    answer = trends(client, weeks=5)
    assert answer["run_id"] == run_id
    assert answer["weeks"] == ["2025-12-15", "2025-12-22", "2025-12-29", "2026-01-05", "2026-01-12"]
    assert all(dt.date.fromisoformat(week).weekday() == 0 for week in answer["weeks"])
    largest, other = (each["cluster_id"] for each in listed(client)["clusters"])
    assert answer["clusters"] == [
        {"cluster_id": largest, "counts": [0, 1, 4, 1, 1]},
        {"cluster_id": other, "counts": [0, 0, 1, 0, 0]},
    ]
    assert trends(client, weeks=1)["clusters"][0]["counts"] == [1]
    assert trends(client, weeks=5, limit=1)["clusters"] == answer["clusters"][:1]
    assert len(trends(client, weeks=104)["weeks"]) == 104
    assert sum(trends(client, weeks=104)["clusters"][0]["counts"]) == 7


def test_weeks_end_with_the_day_asked_for(client: TestClient, engine: Engine) -> None:
    on(engine, A, "2026-01-05", "2026-01-07", "2026-01-08", "2026-01-11", "2026-02-20")
    cluster(client)
    answer = trends(client, weeks=2, to="2026-01-08")
    assert answer["weeks"] == ["2025-12-29", "2026-01-05"]
    assert answer["clusters"][0]["counts"] == [0, 3]
    assert trends(client, weeks=1, to="2026-01-11")["clusters"][0]["counts"] == [4]
    assert trends(client, weeks=1, to="2026-01-12")["weeks"] == ["2026-01-12"]
    assert trends(client, weeks=2, **{"from": "2026-01-08", "to": "2026-01-12"})["clusters"][0]["counts"] == [
        2,
        0,
    ]
    assert trends(client, weeks=1, to="2999-12-31")["weeks"] == ["2999-12-30"]


def test_weeks_end_with_the_newest_image_of_the_filter(client: TestClient, engine: Engine) -> None:
    on(engine, A, "2026-01-05", "2026-01-06", plant="B")
    on(engine, A, "2026-03-01", plant="C")
    on(engine, B, "2026-03-01", "2026-03-01", plant="C")
    cluster(client)
    answer = trends(client, weeks=1, labels='{"plant": "B"}')
    assert answer["weeks"] == ["2026-01-05"]
    assert [each["counts"] for each in answer["clusters"]] == [[2]]
    nothing = trends(client, weeks=1, labels='{"plant": "D"}')
    today = dt.datetime.now(dt.UTC).date()
    assert dt.timedelta(0) <= today - dt.date.fromisoformat(nothing["weeks"][0]) < dt.timedelta(days=7)
    assert nothing["clusters"] == []


def test_the_first_days_of_the_calendar_have_no_weeks_before_them(client: TestClient, engine: Engine) -> None:
    on(engine, A, "0001-01-01", "0001-01-01", plant="B")
    cluster(client)
    assert_problem(client.get("/patterns/trends", params={"weeks": 2, "to": "0001-01-07"}), 422, "to")
    assert client.get("/patterns/trends", params={"labels": '{"plant": "B"}'}).status_code == 200


def test_without_a_run_there_are_weeks_and_templates_all_the_same(client: TestClient) -> None:
    for day in ("2026-01-05", "2026-01-11", "2026-01-12"):
        upload_all(client, drawn(1), labels=f'{{"claimed_at": "{day}"}}')
    upload_all(client, drawn(2), labels='{"claimed_at": "2026-01-12"}')
    made = client.post(
        "/templates",
        files={"file": ("t.jpg", encoded(drawn(1)))},
        data={"name": "blobs", "fingerprint": "phash"},
    )
    assert made.status_code == 201, made.text
    template_id = made.json()["template_id"]
    deadline = time.monotonic() + 20
    while not client.get(f"/templates/{template_id}").json()["compared"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    answer = trends(client, weeks=3)
    assert answer == {
        "weeks": ["2025-12-29", "2026-01-05", "2026-01-12"],
        "run_id": None,
        "clusters": [],
        "templates": [{"template_id": template_id, "name": "blobs", "counts": [0, 2, 1]}],
    }
    filtered = trends(client, weeks=2, to="2026-01-06", labels='{"plant": "B"}')
    assert filtered["templates"][0]["counts"] == [0, 0]
    cluster(client)
    with_run = trends(client, weeks=3)
    assert with_run["templates"] == answer["templates"]
    assert [each["counts"] for each in with_run["clusters"]] == [[0, 2, 1]]


@pytest.mark.parametrize(
    ("params", "field"),
    [({"weeks": 0}, "weeks"), ({"weeks": 105}, "weeks"), ({"limit": 0}, "limit"), ({"x": 1}, "x")],
)
def test_wrong_parameters_of_weeks_are_refused(
    client: TestClient, params: dict[str, Any], field: str
) -> None:
    assert_problem(client.get("/patterns/trends", params=params), 422, field)


# Roles.


def test_portals_may_see_none_of_it(client: TestClient, engine: Engine, make_key: MakeKey) -> None:
    upload_all(client, drawn(1), drawn(1))
    response = client.post("/clusters", json=PAIRS)
    job_id = response.json()["job_id"]
    finished(client, job_id)
    cluster_id = listed(client)["clusters"][0]["cluster_id"]
    paths = [
        "/clusters",
        "/clusters/runs",
        f"/clusters/{cluster_id}",
        f"/clusters/{cluster_id}/sheet.png",
        f"/clusters/{cluster_id}/mean.png",
        "/patterns/trends",
        f"/jobs/{job_id}",
    ]
    portal, qc = using(make_key("portal")), using(make_key("qc"))
    for path in paths:
        assert_problem(client.get(path, headers=portal), 403)
        assert client.get(path, headers=qc).status_code == 200
    assert_problem(client.post("/clusters", json={}, headers=portal), 403)
    assert_problem(client.post(f"/jobs/{job_id}/cancel", headers=portal), 403)
    with engine.connect() as connection:
        assert len(stored.all_runs(connection)) == 1
