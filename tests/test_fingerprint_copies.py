"""Fingerprints read as arrays by COPY are those that are read row by row."""

import datetime as dt
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection, Engine, text

from app.catalog import fingerprints, session, stamps
from app.catalog.filters import Filter
from app.catalog.fingerprints import Codes, SomeTiles, copy_codes, copy_tiles
from app.catalog.images import bury
from app.catalog.new_images import insert_images
from app.catalog.pattern_tiles import pattern_of
from app.fingerprints.pattern import pattern
from app.fingerprints.tiles import grids
from app.fingerprints.value import COLUMN_OF, Pattern, tiles_of_blocks
from tests.pictures import surface
from tests.rows import insert_rows, new_image
from tests.web.test_jobs import as_before_0003, as_before_0004

# Of as many tiles as others, of more, of fewer, and the same number in another shape.
SIZES = [(640, 480), (480, 640), (200, 200), (1000, 300), (90, 100), (640, 480)]
COLOUR_CODE = np.dtype((">u8", 2))


def with_tiles(engine: Engine, sizes: Sequence[tuple[int, int]], seed: int = 1) -> dict[int, Pattern]:
    """Insert images with random tiles as pictures of these sizes have, some flat; their patterns by stamp."""
    rng = np.random.default_rng(seed)
    found: dict[int, Pattern] = {}
    for number, size in enumerate(sizes):
        blocks = np.array([part for grid in grids(*size) for part in (grid.rows, grid.columns)], np.uint8)
        count = int(tiles_of_blocks(blocks))
        words = rng.integers(0, 2**64, (count + 1, 4), dtype=np.uint64)
        made = Pattern(words[0], words[1:], rng.random(count) < 0.2, blocks)
        new = new_image(rng.integers(0, 2**64, (8, 9), dtype=np.uint64), claim_id=f"KD-{number}")
        object.__setattr__(new, "pattern", made)
        with session.autocommit(engine) as connection:
            (row,) = insert_images(connection, [new]).values()
        found[row.created_seq] = made
    return found


def tiles_by_image(some: SomeTiles) -> dict[int, tuple[np.ndarray, ...]]:
    """The parts of each image, as `Pattern` has them."""
    ends = [*some.tiles.starts.tolist(), len(some.tiles.words)][1:]
    return {
        int(seq): (some.tiles.words[begin:end], some.tiles.flat[begin:end], blocks)
        for seq, begin, end, blocks in zip(some.seqs, some.tiles.starts, ends, some.tiles.blocks, strict=True)
    }


def copied(engine: Engine) -> tuple[list[int], dict[int, tuple[np.ndarray, ...]]]:
    """Number of images handed on at a time, and all tiles by stamp."""
    found: dict[int, tuple[np.ndarray, ...]] = {}
    counts: list[int] = []

    def take(some: SomeTiles) -> None:
        counts.append(len(some.seqs))
        new = tiles_by_image(some)
        assert len(new) == len(some.seqs)
        assert not found.keys() & new.keys()
        found.update(new)

    with engine.connect() as connection, stamps.snapshot(connection):
        copy_tiles(connection, take)
    return counts, found


def assert_as_row_by_row(engine: Engine, found: dict[int, tuple[np.ndarray, ...]]) -> None:
    with engine.connect() as connection:
        seqs = connection.execute(text("SELECT created_seq FROM image WHERE deleted_at IS NULL")).scalars()
        stored = {seq: pattern_of(connection, seq) for seq in seqs}
    assert found.keys() == {seq for seq, each in stored.items() if each is not None}
    for seq, (words, flat, blocks) in found.items():
        plain = stored[seq]
        assert plain is not None
        assert np.array_equal(words, plain.tiles)
        assert np.array_equal(flat, plain.flat)
        assert flat.dtype == np.bool_
        assert np.array_equal(blocks, plain.blocks)


@pytest.mark.parametrize("rows_at_once", [1, 3, 6, 2048])
def test_tiles_are_those_of_each_image(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, rows_at_once: int
) -> None:
    monkeypatch.setattr(fingerprints, "_ROWS_AT_ONCE", rows_at_once)
    inserted = with_tiles(engine, SIZES * 2)
    counts, found = copied(engine)
    assert_as_row_by_row(engine, found)
    assert found.keys() == inserted.keys()
    assert sum(counts) == len(inserted)
    assert max(counts) <= rows_at_once


def test_no_tiles_are_read_from_an_empty_table(engine: Engine) -> None:
    assert copied(engine) == ([], {})


def test_tiles_of_deleted_images_and_of_those_not_filled_in_are_left_out(engine: Engine) -> None:
    first, _, *others = with_tiles(engine, SIZES)
    with engine.begin() as connection:
        row_id = connection.execute(text(f"SELECT id FROM image WHERE created_seq = {first}")).scalar_one()
        bury(connection, [row_id])
    as_before_0004(engine, "claim_id = 'KD-1'")
    _, found = copied(engine)
    assert list(found) == others
    assert_as_row_by_row(engine, found)


def test_tiles_are_those_that_a_region_is_looked_for_in(engine: Engine) -> None:
    made = {}
    for number, size in enumerate([(320, 240), (240, 320)]):
        drawn = pattern(surface(number, size))
        new = new_image(np.zeros((8, 9), np.uint64), claim_id=f"KD-{number}")
        object.__setattr__(new, "pattern", drawn)
        with session.autocommit(engine) as connection:
            (row,) = insert_images(connection, [new]).values()
        made[row.created_seq] = drawn
    region = np.random.default_rng(1).integers(0, 2**64, (2, 4), dtype=np.uint64)
    distances: dict[int, int] = {}

    def take(some: SomeTiles) -> None:
        distances.update(zip(some.seqs.tolist(), some.tiles.nearest(region)[0].tolist(), strict=True))

    with engine.connect() as connection, stamps.snapshot(connection):
        copy_tiles(connection, take)
    assert distances == {
        seq: int(fingerprints.Tiles.of([drawn]).nearest(region)[0][0]) for seq, drawn in made.items()
    }


class _Stop(Exception):
    pass


def test_connections_can_be_used_after_whoever_takes_tiles_stopped(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_ROWS_AT_ONCE", 2)
    # Many more than the socket holds at once: what was not read waits on the connection.
    insert_rows(engine, 1500, np.random.default_rng(1))

    def stop(_: SomeTiles) -> None:
        raise _Stop

    for _ in range(engine.pool.size() + 2):  # type: ignore[attr-defined]
        with (
            pytest.raises(_Stop),
            engine.connect() as connection,
            stamps.snapshot(connection),
        ):
            copy_tiles(connection, stop)
    assert engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM pattern_tiles")).scalar_one() == 1500
    _, found = copied(engine)
    assert len(found) == 1500


def codes_of(engine: Engine, name: str, wanted: Filter | None = None) -> Codes:
    with engine.connect() as connection:
        return copy_codes(connection, name, wanted or Filter())


def plain_codes(engine: Engine, name: str, which: str = "true") -> dict[int, list[int]]:
    """Row by row, by stamp."""
    column = {"pattern": "p.words", "colorhash": "i.colour_code"}.get(name, f"i.{name}")
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                f"SELECT i.created_seq, {column} AS code FROM image i LEFT JOIN pattern_tiles p"
                f" USING (created_seq) WHERE i.deleted_at IS NULL AND {which} ORDER BY i.created_seq"
            )
        ).all()
    return {
        row.created_seq: np.frombuffer(row.code, ">u8").tolist()
        if isinstance(row.code, memoryview | bytes)
        else [row.code % 2**64]
        for row in rows
    }


ALL = [*COLUMN_OF, "colorhash", "pattern"]


@pytest.mark.parametrize("name", ALL)
def test_codes_are_those_of_the_rows_in_upload_order(engine: Engine, name: str) -> None:
    rows = insert_rows(engine, 300, np.random.default_rng(1))
    with engine.begin() as connection:
        # So that the table's own order is another one.
        connection.execute(text("UPDATE image SET labels = '{\"a\": 1}' WHERE id % 3 = 0"))
        ids = {
            row.created_seq: row.id for row in connection.execute(text("SELECT created_seq, id FROM image"))
        }
    found = codes_of(engine, name)
    assert found.seqs.tolist() == rows.seqs
    assert found.ids.tolist() == [ids[seq] for seq in rows.seqs]
    assert found.codes.dtype == np.uint64
    assert found.codes.tolist() == list(plain_codes(engine, name).values())
    assert found.left_out == {"not_computed_yet": 0, "low_information": 0}
    if name in COLUMN_OF:
        assert found.codes[:, 0].tolist() == rows.turned[:, 0, COLUMN_OF[name]].tolist()


@pytest.mark.parametrize("name", ALL)
def test_no_codes_are_read_from_an_empty_table(engine: Engine, name: str) -> None:
    found = codes_of(engine, name)
    assert (len(found.seqs), len(found.ids), len(found.codes)) == (0, 0, 0)
    assert found.left_out == {"not_computed_yet": 0, "low_information": 0}


def left_out_of(engine: Engine) -> Any:
    """Stamps of twelve images.

    A deleted one, one of low information, such a one that is flat too, a flat one, three that are not filled in
    yet, and five that are like most.
    """
    rows = insert_rows(engine, 12, np.random.default_rng(1))
    with engine.begin() as connection:
        ids = connection.execute(text("SELECT id FROM image ORDER BY created_seq")).scalars().all()
        bury(connection, ids[:1])
        connection.execute(
            text("UPDATE image SET status = 'low_information' WHERE id = ANY(:ids)"), {"ids": ids[1:3]}
        )
        connection.execute(
            text(
                "UPDATE pattern_tiles p SET flat = set_bits.flat FROM ("
                " SELECT created_seq, :flat AS flat FROM image WHERE id = ANY(:ids)) set_bits"
                " WHERE p.created_seq = set_bits.created_seq"
            ),
            {"ids": [ids[2], ids[3]], "flat": all_flat(connection, rows.seqs[2])},
        )
    as_before_0003(engine, f"id IN ({', '.join(map(str, ids[4:7]))})")
    return rows.seqs


def all_flat(connection: Connection, seq: int) -> bytes:
    found = pattern_of(connection, seq)
    assert found is not None
    return np.packbits(np.ones(len(found.tiles), np.bool_)).tobytes()


@pytest.mark.parametrize("name", stamps.FIRST_HASHES)
def test_first_hashes_are_read_of_all_with_enough_information(engine: Engine, name: str) -> None:
    seqs = left_out_of(engine)
    found = codes_of(engine, name)
    assert found.seqs.tolist() == seqs[3:]
    assert found.left_out == {"not_computed_yet": 0, "low_information": 2}


@pytest.mark.parametrize("name", ["whash_db4", "colorhash"])
def test_later_hashes_are_read_of_those_that_have_them(engine: Engine, name: str) -> None:
    seqs = left_out_of(engine)
    found = codes_of(engine, name)
    assert found.seqs.tolist() == [seqs[3], *seqs[7:]]
    assert found.left_out == {"not_computed_yet": 3, "low_information": 2}


def test_patterns_are_read_of_low_information_too_unless_nothing_is_on_them(engine: Engine) -> None:
    seqs = left_out_of(engine)
    found = codes_of(engine, "pattern")
    assert found.seqs.tolist() == [seqs[1], *seqs[7:]]
    assert found.left_out == {"not_computed_yet": 3, "low_information": 2}
    plain = plain_codes(engine, "pattern", "p.words IS NOT NULL")
    assert found.codes.tolist() == [plain[seq] for seq in found.seqs.tolist()]


@pytest.mark.parametrize("name", ["phash", "colorhash", "pattern"])
def test_codes_and_what_is_left_out_are_those_of_the_filter(engine: Engine, name: str) -> None:
    seqs = left_out_of(engine)
    with engine.begin() as connection:
        for labels, wanted in (
            (
                '{"plant": "B", "line": 7, "claimed_at": "2026-03-01T12:00"}',
                [*seqs[1:3], *seqs[4:6], seqs[8]],
            ),
            ('{"plant": "A", "claimed_at": "2026-03-02"}', seqs[9:10]),
            ('{"plant": "B", "claimed_at": "2026-13-02"}', seqs[10:11]),
        ):
            connection.execute(
                text("UPDATE image SET labels = CAST(:labels AS jsonb) WHERE created_seq = ANY(:seqs)"),
                {"labels": labels, "seqs": wanted},
            )
    whole = codes_of(engine, name).seqs.tolist()
    today = dt.datetime.now(dt.UTC).date()
    in_march = [*seqs[1:3], *seqs[4:6], *seqs[8:10]]
    for wanted, meant in (
        (Filter({"plant": "B"}), [*seqs[1:3], *seqs[4:6], seqs[8], seqs[10]]),
        (Filter({"plant": "B", "line": 7}), [*seqs[1:3], *seqs[4:6], seqs[8]]),
        (Filter({"line": "7"}), []),
        (Filter(from_day=dt.date(2026, 3, 1), to_day=dt.date(2026, 3, 2)), in_march),
        (Filter({"plant": "A"}, dt.date(2026, 3, 2), dt.date(2026, 3, 2)), [seqs[9]]),
        (Filter({"plant": "B"}, from_day=today), [seqs[10]]),
        (Filter(to_day=dt.date(2026, 2, 28)), []),
    ):
        found = codes_of(engine, name, wanted)
        assert found.seqs.tolist() == [seq for seq in whole if seq in meant], wanted
        not_computed = 0 if name == "phash" else len(set(meant) & set(seqs[4:7]))
        assert found.left_out == {
            "not_computed_yet": not_computed,
            "low_information": len(meant) - not_computed - len(found.seqs),
        }, wanted
