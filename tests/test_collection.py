import threading

import numpy as np
import pytest
from sqlalchemy import Engine, text

from app.catalog import images, session
from app.collection import (
    PATTERN,
    Collection,
    KeypointCollection,
    KeypointIndex,
    PatternCollection,
    PatternIndex,
    SegmentCollection,
    SegmentIndex,
    TableIndex,
)
from app.fingerprints.keypoint_value import KEYPOINTS, Keypoints
from app.fingerprints.value import Segment
from tests.rows import insert_rows, keypoints_from, pattern_from

NO_KEYPOINTS = Keypoints.from_bytes(b"", b"")


@pytest.fixture
def collection(engine: Engine) -> Collection:
    return Collection(engine)


def caught_up(engine: Engine, collection: Collection) -> TableIndex:
    with session.autocommit(engine) as connection:
        return collection.caught_up(connection)


def table(engine: Engine, name: str) -> dict[int, int]:
    """What must be in the index: created_seq -> hash of every live, fingerprinted row."""
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                f"SELECT created_seq, {name} FROM image WHERE deleted_at IS NULL AND status = 'fingerprinted'"
                f" AND {name} IS NOT NULL"
            )
        )
        return {row.created_seq: getattr(row, name) % 2**64 for row in rows}


def contents(index: TableIndex, name: str) -> dict[int, int]:
    hashes, ids = index.indexes[name].contents()
    return dict(zip(ids.tolist(), hashes.tolist(), strict=True))


def assert_equal_to_table(engine: Engine, index: TableIndex) -> None:
    for name in ("ahash", "phash", "dhash", "whash", "whash_db4"):
        assert contents(index, name) == table(engine, name)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT created_seq, verifier, page, colour_code, whash_db4 IS NULL AS to_fill FROM image"
                " WHERE deleted_at IS NULL AND status = 'fingerprinted'"
            )
        ).all()
    words, ids = index.contents()[1]["verifier"]
    found = {seq: word.astype(">u8").tobytes() for seq, word in zip(ids.tolist(), words, strict=True)}
    assert found == {row.created_seq: bytes(row.verifier) for row in rows}
    pages = dict(zip(ids.tolist(), index.contents()[1]["page"][0].tolist(), strict=True))
    assert pages == {row.created_seq: bool(row.page) for row in rows}
    words, ids = index.indexes["colorhash"].contents()
    found = {seq: word.astype(">u8").tobytes() for seq, word in zip(ids.tolist(), words, strict=True)}
    assert found == {row.created_seq: bytes(row.colour_code) for row in rows if not row.to_fill}
    assert index.lacking("colorhash") == index.lacking("whash_db4") == sum(row.to_fill for row in rows)
    assert index.lacking("phash") == 0


def test_empty_table_gives_an_empty_index(engine: Engine, collection: Collection) -> None:
    index = caught_up(engine, collection)
    assert len(index) == 0
    assert index.last == 0


def test_index_loaded_by_copy_equals_the_table(engine: Engine, collection: Collection) -> None:
    insert_rows(engine, 500, np.random.default_rng(1))
    assert_equal_to_table(engine, caught_up(engine, collection))


def test_index_follows_inserts_changes_and_deletions(engine: Engine, collection: Collection) -> None:
    caught_up(engine, collection)
    insert_rows(engine, 300, np.random.default_rng(1))
    index = caught_up(engine, collection)
    assert_equal_to_table(engine, index)
    for statement in (
        "UPDATE image SET deleted_at = clock_timestamp() WHERE id % 3 = 0",
        "UPDATE image SET phash = -1, dhash = 0 WHERE id % 3 = 1 AND deleted_at IS NULL",
        "UPDATE image SET page = true WHERE id % 4 = 2 AND page IS NOT NULL AND deleted_at IS NULL",
        "UPDATE image SET verifier = sha256(verifier) WHERE id % 3 = 2 AND deleted_at IS NULL",
        (
            "UPDATE image SET whash_db4 = NULL, colorhash = NULL, colour_code = NULL, page = NULL,"
            " turned = substring(turned, 1, 512) WHERE id % 7 = 2 AND deleted_at IS NULL"
        ),
        (
            "UPDATE image SET whash_db4 = 5, colorhash = 6, page = false,"
            " colour_code = decode(repeat('07', 16), 'hex'), turned = turned || decode(repeat('00', 64), 'hex')"
            " WHERE id % 14 = 2 AND deleted_at IS NULL"
        ),
        "UPDATE image SET colour_code = decode(repeat('08', 16), 'hex') WHERE id % 28 = 3 AND deleted_at IS NULL",
        "UPDATE image SET status = 'low_information' WHERE id % 5 = 1 AND deleted_at IS NULL",
        "UPDATE image SET status = 'fingerprinted' WHERE id % 10 = 1 AND deleted_at IS NULL",
    ):
        with engine.begin() as connection:
            connection.execute(text(statement))
        assert caught_up(engine, collection) is index
        assert_equal_to_table(engine, index)
        assert len(index) < 300


def test_burst_longer_than_one_read_is_caught_up_whole(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.collection.replica.CHANGES_PER_READ", 7)
    caught_up(engine, collection)
    insert_rows(engine, 100, np.random.default_rng(1))
    assert_equal_to_table(engine, caught_up(engine, collection))


def test_table_behind_the_index_means_rebuild(engine: Engine, collection: Collection) -> None:
    """As after a restore from a backup: rows that the index has seen are not there any more."""
    insert_rows(engine, 10, np.random.default_rng(1))
    old = caught_up(engine, collection)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE image DISABLE TRIGGER USER"))
        connection.execute(
            text(
                "DELETE FROM segment; DELETE FROM pattern_tiles; DELETE FROM image_keypoints;"
                " DELETE FROM image WHERE id > 4"
            )
        )
        connection.execute(text("ALTER TABLE image ENABLE TRIGGER USER"))
    new = caught_up(engine, collection)
    assert new is not old
    assert_equal_to_table(engine, new)


def test_another_cluster_behind_a_new_connection_means_rebuild(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = caught_up(engine, collection)
    assert caught_up(engine, collection) is old
    monkeypatch.setattr(session, "identity", lambda _connection: (1, 1))
    assert caught_up(engine, collection) is old
    engine.dispose()
    assert caught_up(engine, collection) is not old


def test_catch_up_that_waited_for_another_shares_its_read(
    engine: Engine, collection: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = caught_up(engine, collection)
    insert_rows(engine, 10, np.random.default_rng(1))
    threads = [threading.Thread(target=caught_up, args=(engine, collection)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert_equal_to_table(engine, index)


def test_rebuild_compares_at_one_stamp_while_uploads_go_on(engine: Engine, collection: Collection) -> None:
    insert_rows(engine, 50, np.random.default_rng(0))
    caught_up(engine, collection)
    done = threading.Event()

    def upload() -> None:
        number = 1
        while not done.is_set():
            insert_rows(engine, 3, np.random.default_rng(number))
            caught_up(engine, collection)
            number += 1

    thread = threading.Thread(target=upload)
    thread.start()
    try:
        for _ in range(10):
            assert collection.rebuild().total == 0
    finally:
        done.set()
        thread.join()
    assert_equal_to_table(engine, caught_up(engine, collection))


def regions_in_table(engine: Engine) -> dict[tuple[int, int], int]:
    """What must be in the index of segments: (created_seq, ordinal) -> hash of each large region."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT created_seq, ordinal, hash, width, height FROM segment")).all()
    return {
        (row.created_seq, row.ordinal): row.hash % 2**64 for row in rows if row.width * row.height >= 3000
    }


def regions_held(index: SegmentIndex) -> dict[tuple[int, int], int]:
    hashes, ids = index.index.contents()
    return {(id_ >> 8, id_ & 255): hash_ for id_, hash_ in zip(ids.tolist(), hashes.tolist(), strict=True)}


def test_index_of_segments_follows_the_table(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.collection.replica.CHANGES_PER_READ", 37)
    rows = insert_rows(engine, 200, np.random.default_rng(1))
    collection = SegmentCollection(engine)

    def index() -> SegmentIndex:
        with session.autocommit(engine) as connection:
            return collection.caught_up(connection)

    first = index()
    whole = regions_in_table(engine)
    assert regions_held(first) == whole
    assert len(whole) > 200
    insert_rows(engine, 100, np.random.default_rng(2))
    with engine.begin() as connection:
        images.bury(connection, range(1, 30))
    for seq in rows.seqs[40:60]:
        replaced = images.Rehashed(
            seq,
            {"ahash": 1},
            [Segment((seq,) * 8, 0, 0, 100, 100), Segment((2**64 - 1,) * 8, 0, 0, 10, 10)][: seq % 3],
            pattern_from(np.full(9, seq, np.uint64)),
            keypoints_from(np.full(9, seq, np.uint64)),
        )
        with engine.begin() as connection:
            images.store_rehash(connection, replaced)
    assert index() is first
    assert regions_held(first) == regions_in_table(engine) != whole
    assert collection.rebuild().total == 0
    assert first.lacking("segments") == 0


def patterns_in_table(engine: Engine) -> dict[int, int]:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT created_seq, words FROM pattern_tiles JOIN image USING (created_seq)"
                " WHERE deleted_at IS NULL AND status = 'fingerprinted' AND pattern IS NOT NULL"
            )
        )
        return {row.created_seq: int.from_bytes(row.words[:8], "big") for row in rows}


def patterns_held(index: PatternIndex) -> dict[int, int]:
    hashes, ids = index.indexes[PATTERN].contents()
    return dict(zip(ids.tolist(), hashes.tolist(), strict=True))


def test_index_of_patterns_follows_the_table(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.collection.replica.CHANGES_PER_READ", 37)
    rows = insert_rows(engine, 100, np.random.default_rng(1))
    collection = PatternCollection(engine)

    def index() -> PatternIndex:
        with session.autocommit(engine) as connection:
            return collection.caught_up(connection)

    first = index()
    whole = patterns_in_table(engine)
    assert patterns_held(first) == whole
    assert len(whole) == 100
    insert_rows(engine, 60, np.random.default_rng(2))
    with engine.begin() as connection:
        images.bury(connection, range(1, 30))
        assert connection.execute(text("SELECT count(*) FROM pattern_tiles")).scalar_one() == 131
        connection.execute(text("UPDATE image SET status = 'low_information' WHERE id = 33"))
        connection.execute(text("UPDATE image SET pattern = NULL WHERE id IN (34, 35)"))
    for seq in rows.seqs[40:50]:
        pattern = pattern_from(np.full(9, 2**64 - seq, np.uint64))
        with engine.begin() as connection:
            images.store_rehash(connection, images.Rehashed(seq, {}, [], pattern, NO_KEYPOINTS))
    assert index() is first
    assert patterns_held(first) == patterns_in_table(engine) != whole
    assert first.lacking(PATTERN) == 2
    assert collection.rebuild().total == 0
    assert patterns_held(index()) == patterns_in_table(engine)
    assert index().lacking(PATTERN) == 2


def keypoints_in_table(engine: Engine) -> dict[tuple[int, int], int]:
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT created_seq, codes FROM image_keypoints JOIN image USING (created_seq)"
                " WHERE deleted_at IS NULL AND status = 'fingerprinted' AND keypoint_count IS NOT NULL"
            )
        )
        return {
            (row.created_seq, place): code
            for row in rows
            for place, code in enumerate(np.frombuffer(row.codes, ">u8").tolist())
        }


def keypoints_held(index: KeypointIndex) -> dict[tuple[int, int], int]:
    hashes, ids = index.held()[KEYPOINTS]
    places = zip(index.images_of(ids).tolist(), (ids & 255).tolist(), strict=True)
    return dict(zip(places, hashes.tolist(), strict=True))


def test_index_of_keypoints_follows_the_table(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.collection.replica.CHANGES_PER_READ", 37)
    rows = insert_rows(engine, 100, np.random.default_rng(1))
    collection = KeypointCollection(engine)

    def index() -> KeypointIndex:
        with session.autocommit(engine) as connection:
            return collection.caught_up(connection)

    first = index()
    whole = keypoints_in_table(engine)
    assert keypoints_held(first) == whole
    assert len({seq for seq, _ in whole}) > 50
    insert_rows(engine, 60, np.random.default_rng(2))
    with engine.begin() as connection:
        images.bury(connection, range(1, 30))
        assert connection.execute(text("SELECT count(*) FROM image_keypoints")).scalar_one() == 131
        connection.execute(text("UPDATE image SET status = 'low_information' WHERE id = 33"))
        connection.execute(text("UPDATE image SET keypoint_count = NULL WHERE id IN (34, 35)"))
    for seq in rows.seqs[40:50]:
        own = np.full(9, 2**64 - seq, np.uint64)
        with engine.begin() as connection:
            images.store_rehash(
                connection, images.Rehashed(seq, {}, [], pattern_from(own), keypoints_from(own))
            )
    assert index() is first
    assert keypoints_held(first) == keypoints_in_table(engine) != whole
    assert first.lacking(KEYPOINTS) == 2
    assert collection.rebuild().total == 0
    assert keypoints_held(index()) == keypoints_in_table(engine)
    assert index().lacking(KEYPOINTS) == 2


def test_a_rebuild_counts_images_whose_keypoints_are_not_those_of_the_table(engine: Engine) -> None:
    rows = insert_rows(engine, 40, np.random.default_rng(1))
    collection = KeypointCollection(engine)
    with session.autocommit(engine) as connection:
        held = collection.caught_up(connection).index
    hashes, owners, states = held.contents()
    some = sorted(set(owners.tolist()))
    held.remove(np.array(some[:2]))
    own, tags = hashes[owners == some[5]], states[owners == some[5]]
    new = np.array([some[5], rows.seqs[-1] + 1])
    held.put(new, np.r_[own ^ np.uint64(1), own], np.full(2, len(own)), np.r_[tags, tags])
    found = collection.rebuild()
    assert (found.missing, found.extra, found.differing) == (2, 1, 1)


def test_images_whose_segments_are_to_come_are_counted(engine: Engine) -> None:
    insert_rows(engine, 5, np.random.default_rng(1))
    with engine.begin() as connection:
        connection.execute(
            text(
                "DELETE FROM segment;"
                " UPDATE image SET whash_db4 = NULL, colorhash = NULL, colour_code = NULL, page = NULL,"
                " turned = substring(turned, 1, 512)"
            )
        )
    collection = SegmentCollection(engine)
    with session.autocommit(engine) as connection:
        assert collection.caught_up(connection).lacking("segments") == 5
        images.bury(connection, [1])
        assert collection.caught_up(connection).lacking("segments") == 4


def test_a_rebuild_counts_images_with_wrong_segments_once(engine: Engine) -> None:
    insert_rows(engine, 20, np.random.default_rng(1))
    collection = SegmentCollection(engine)
    with session.autocommit(engine) as connection:
        index = collection.caught_up(connection)
    _, ids = index.index.contents()
    seq = next(seq for seq in (ids >> 8).tolist() if np.count_nonzero(ids >> 8 == seq) > 1)
    index.index.remove(ids[ids >> 8 == seq])
    index.index.add(np.array([7], np.uint64), np.array([2**40 << 8]))
    found = collection.rebuild()
    assert (found.missing, found.extra, found.differing) == (1, 1, 0)
