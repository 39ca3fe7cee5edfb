"""Filters in SQL against the same in plain Python, over rows with labels of every kind."""

import datetime as dt
import json
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text

from app.catalog import images, session
from app.catalog.filters import Filter
from app.catalog.new_images import insert_images
from tests.rows import clustered, new_image

DAYS = [dt.date(2025, 12, 31), dt.date(2026, 1, 1), dt.date(2026, 11, 25), dt.date(2026, 11, 26)]
UPLOADS = [
    "2026-11-25T23:59:59.999999Z",
    "2026-11-26T00:00:00Z",
    "2026-11-26T00:30:00+01:00",
    "2026-11-25T23:30:00-01:00",
    "2025-12-31T23:59:59Z",
]
CLAIMED = [
    "2026-11-26",
    "2026-11-26T10:00:00Z",
    "2026-11-26 about noon",
    "2026-11-25T23:30:00-05:00",
    "2026-01-01",
    "2025-12-31",
    "2024-02-29",
    "2026-02-29",
    "2026-02-30",
    "2026-13-01",
    "2026-00-10",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "12026-01-01",
    "99999999999-01-01",
    "infinity",
    "-infinity",
    "now",
    "today",
    "epoch",
    "26.11.2026",
    "11/26/2026",
    "2026-1-1",
    "20261126",
    " 2026-11-26",
    "-2026-11-26",
    "2026-11-2",
    "2026-11",
    "\u0662\u0660\u0662\u0666-\u0660\u0661-\u0660\u0661",
    "\u0662\u0660\u0662\u0666-01-01",
    "\uff12\uff10\uff12\uff16-01-01",
    "2026\u201011\u201026",
    "",
    "x" * 256,
    "2026-11-26'; DROP TABLE image; --",
    "2026-11-26 BC",
    "\n2026-11-26",
    "2026-11-26\n",
    "😀2026-11-26",
]
LABELS: list[dict[str, Any]] = [
    {},
    {"plant": "A"},
    {"plant": "B", "product": "fridge"},
    {"plant": "a"},
    {"count": 1},
    {"count": 1.0},
    {"count": "1"},
    {"count": True},
    {"count": "true"},
    {"count": False},
    {"count": 0},
    {"count": ""},
    {"count": 1.5},
    {"count": 2**53},
    {"count": -(2**53)},
    {"count": 1e-300},
    {"plant": "A", "count": 1},
    {"größe": "ä"},
    {"größe": "a\u0308"},
    {"a.b": "c", "$.x": "%s", "'": '"'},
    {"": "empty"},
    {"claimed_at": 20261126},
    {"claimed_at": True},
    {"claimed_at": 1e15},
    *({"claimed_at": value} for value in CLAIMED),
    {"claimed_at": "2026-11-26", "plant": "A"},
    {"claimed_at": "2026-02-30", "plant": "A"},
]


def same(stored: Any, asked: Any) -> bool:
    """Equal and of a kind: numbers are numbers, however they are written; true is no number."""
    kinds = [
        bool if isinstance(value, bool) else str if isinstance(value, str) else float
        for value in (stored, asked)
    ]
    return kinds[0] is kinds[1] and stored == asked


def plain_day(labels: dict[str, Any], uploaded_at: str) -> dt.date:
    claimed = labels.get("claimed_at")
    if isinstance(claimed, str) and re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", claimed):
        try:
            return dt.date.fromisoformat(claimed[:10])
        except ValueError:
            pass
    return dt.datetime.fromisoformat(uploaded_at).astimezone(dt.UTC).date()


def plainly_meant(wanted: Filter, labels: dict[str, Any], uploaded_at: str) -> bool:
    day = plain_day(labels, uploaded_at)
    return (
        all(name in labels and same(labels[name], value) for name, value in wanted.labels.items())
        and (wanted.from_day is None or wanted.from_day <= day)
        and (wanted.to_day is None or day <= wanted.to_day)
    )


@dataclass(frozen=True)
class Row:
    seq: int
    labels: dict[str, Any]
    uploaded_at: str

    @property
    def day(self) -> dt.date:
        return plain_day(self.labels, self.uploaded_at)


@pytest.fixture
def rows(engine: Engine) -> list[Row]:
    """Images with each of the labels, each at two of the times; and one that is deleted."""
    turned = clustered(1, np.random.default_rng(1))[0]
    values = [
        (labels, UPLOADS[(n + turn) % len(UPLOADS)]) for turn in (0, 2) for n, labels in enumerate(LABELS)
    ]
    new = [
        replace(new_image(turned, claim_id=f"KD-{n}"), labels=labels) for n, (labels, _) in enumerate(values)
    ]
    with session.autocommit(engine) as connection:
        inserted = insert_images(connection, new)
        seqs = [inserted[row.image_id].created_seq for row in new]
        connection.execute(
            text(
                "UPDATE image SET uploaded_at = g.at FROM unnest(CAST(:seqs AS bigint[]),"
                " CAST(:times AS timestamptz[])) AS g (seq, at) WHERE created_seq = g.seq"
            ),
            {"seqs": seqs, "times": [uploaded_at for _, uploaded_at in values]},
        )
        gone = insert_images(connection, [new_image(turned, claim_id="gone")])
        images.bury(connection, [row.id for row in gone.values()])
    return [Row(seq, labels, at) for seq, (labels, at) in zip(seqs, values, strict=True)]


def meant(engine: Engine, wanted: Filter) -> list[int]:
    condition, values = wanted.condition("image")
    statement = f"SELECT created_seq FROM image WHERE deleted_at IS NULL AND {condition} ORDER BY created_seq"
    with engine.connect() as connection:
        return list(connection.execute(text(statement), values).scalars())


def pairs_of(labels: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    return [pair for each in labels for pair in each.items()]


days = st.none() | st.sampled_from(
    [dt.date.min, dt.date.max, *DAYS, *(day + dt.timedelta(days=1) for day in DAYS), dt.date(2024, 2, 29)]
)
filters = st.builds(
    Filter,
    st.lists(st.sampled_from([*pairs_of(LABELS), ("plant", "nowhere"), ("nothing", 1)]), max_size=2).map(
        dict
    ),
    days,
    days,
)


def test_images_meant_are_those_of_the_plain_filter(engine: Engine, rows: list[Row]) -> None:
    @settings(max_examples=400)
    @given(filters)
    def check(wanted: Filter) -> None:
        expected = [row.seq for row in rows if plainly_meant(wanted, row.labels, row.uploaded_at)]
        assert meant(engine, wanted) == expected

    check()


def test_each_day_alone_has_the_images_of_the_plain_filter(engine: Engine, rows: list[Row]) -> None:
    found = {row.day for row in rows}
    assert set(DAYS) - {DAYS[2]} < found
    for day in found:
        assert meant(engine, Filter({}, day, day)) == [row.seq for row in rows if row.day == day]


def test_each_label_alone_has_the_images_of_the_plain_filter(engine: Engine, rows: list[Row]) -> None:
    for name, value in pairs_of(LABELS):
        expected = [row.seq for row in rows if name in row.labels and same(row.labels[name], value)]
        assert len(expected) >= 2
        assert meant(engine, Filter({name: value})) == expected


@pytest.mark.parametrize(
    ("value", "others"),
    [(1, ["1", True]), ("1", [1, True]), (True, [1, "true"]), (False, [0, ""]), (0, [False])],
)
def test_a_label_of_another_type_is_another_label(
    engine: Engine, rows: list[Row], value: Any, others: list[Any]
) -> None:
    found = set(meant(engine, Filter({"count": value})))
    assert found
    for other in others:
        assert not found & set(meant(engine, Filter({"count": other})))


@pytest.mark.parametrize("claimed", CLAIMED)
def test_day_is_that_of_the_label_or_else_of_the_upload(engine: Engine, claimed: str) -> None:
    for uploaded_at in UPLOADS:
        assert happened_on(engine, [claimed], uploaded_at) == [
            plain_day({"claimed_at": claimed}, uploaded_at)
        ]


@pytest.mark.parametrize(
    "setting", ["timezone = 'Pacific/Kiritimati'", "timezone = 'Etc/GMT+12'", "datestyle = 'SQL, DMY'"]
)
def test_day_is_the_same_in_every_time_zone_and_date_style(engine: Engine, setting: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"SET LOCAL {setting}"))
        days = connection.execute(
            text(
                "SELECT to_char(happened_on(labels, '2026-11-26T00:00:00Z'), 'YYYY-MM-DD') FROM (VALUES"
                ' (\'{}\'::jsonb), (\'{"claimed_at": "2026-02-03"}\'), (\'{"claimed_at": "2026-02-30"}\')'
                ") AS v (labels)"
            )
        ).scalars()
        assert list(days) == ["2026-11-26", "2026-02-03", "2026-11-26"]


def happened_on(engine: Engine, claimed: list[Any], uploaded_at: str) -> list[dt.date]:
    """What the function says of labels `claimed_at` with these values, as JSON has them."""
    with engine.connect() as connection:
        return list(
            connection.execute(
                text(
                    "SELECT happened_on(jsonb_build_object('claimed_at', value), CAST(:at AS timestamptz))"
                    " FROM jsonb_array_elements(CAST(:values AS jsonb)) WITH ORDINALITY ORDER BY ordinality"
                ),
                {"values": json.dumps(claimed), "at": uploaded_at},
            ).scalars()
        )


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
digits = st.text(st.characters(categories=["Nd"]), min_size=4, max_size=4)
like_days = st.builds(
    "{}{}-{:02}-{:02}{}".format,
    st.sampled_from(["", " ", "-", "+", "\n"]),
    st.integers(0, 9999).map("{:04}".format) | digits,
    st.integers(0, 99),
    st.integers(0, 99),
    texts,
)
hostile = st.one_of(
    texts,
    like_days,
    st.booleans(),
    st.none(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.lists(like_days, max_size=2),
    st.dictionaries(texts, like_days, max_size=2),
)


def test_no_label_whatever_it_is_keeps_a_day_from_being_found(engine: Engine) -> None:
    @settings(max_examples=300)
    @given(st.lists(hostile, max_size=30))
    def check(claimed: list[Any]) -> None:
        expected = [plain_day({"claimed_at": value}, UPLOADS[1]) for value in claimed]
        assert happened_on(engine, claimed, UPLOADS[1]) == expected

    check()


def test_labels_that_are_no_object_have_the_day_of_the_upload(engine: Engine) -> None:
    with engine.connect() as connection:
        for labels in ("null", "1", '"claimed_at"', '["claimed_at"]', "[]"):
            day = connection.execute(
                text("SELECT happened_on(CAST(:labels AS jsonb), '2026-11-26T00:00:00Z')"), {"labels": labels}
            ).scalar_one()
            assert day == dt.date(2026, 11, 26)


@given(filters)
def test_a_filter_comes_back_from_its_json(wanted: Filter) -> None:
    stored = json.loads(json.dumps(wanted.json))
    again = Filter.of_json(stored)
    assert again == wanted
    assert again.json == wanted.json
    assert [type(value) for value in again.labels.values()] == [
        type(wanted.labels[name]) for name in again.labels
    ]


@given(filters)
def test_json_does_not_depend_on_the_order_of_labels(wanted: Filter) -> None:
    turned = replace(wanted, labels=dict(reversed(wanted.labels.items())))
    assert json.dumps(turned.json) == json.dumps(wanted.json)


def test_a_filter_of_all_images_is_true_and_says_nothing(engine: Engine, rows: list[Row]) -> None:
    assert Filter().json == {}
    assert Filter().condition("image") == ("TRUE", {})
    assert meant(engine, Filter()) == [row.seq for row in rows]
