import numpy as np
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.catalog import images, schema, session, templates
from app.catalog.models import metadata
from app.collection import Collection
from tests.rows import insert_rows


def test_migrations_make_the_tables_that_the_models_describe(engine: Engine) -> None:
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    schema.migrate(engine)
    with engine.connect() as connection:
        assert schema.current_revision(connection) == schema.newest_revision()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE image SET created_seq = 1",
        "UPDATE image SET change_seq = 1",
        "DELETE FROM image",
        "UPDATE event SET actor = 'x'",
        "DELETE FROM event",
        "TRUNCATE event",
    ],
)
def test_stamps_tombstones_and_events_are_kept_by_the_database(engine: Engine, statement: str) -> None:
    insert_rows(engine, 2, np.random.default_rng(0))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO event (actor, action, subject) VALUES ('a', 'b', 'c')"))
    with pytest.raises(DBAPIError, match="is refused"), engine.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.parametrize("column", ["verifier", "turned", "colour_code"])
def test_fingerprint_of_another_size_is_refused(engine: Engine, column: str) -> None:
    """Loading reads all rows as one array of fixed size: one odd row would shift the rest."""
    insert_rows(engine, 1, np.random.default_rng(0))
    with pytest.raises(DBAPIError, match="image_fingerprint_sizes"), engine.begin() as connection:
        connection.execute(text(f"UPDATE image SET {column} = substring({column}, 2)"))


@pytest.mark.parametrize("column", ["whash_db4", "colorhash", "colour_code", "page"])
def test_fingerprint_that_came_later_is_there_with_the_others_or_not_at_all(
    engine: Engine, column: str
) -> None:
    insert_rows(engine, 1, np.random.default_rng(0))
    # With the size that belongs to it, so that nothing else is wrong.
    size = 512 if column == "whash_db4" else 576
    with pytest.raises(DBAPIError, match="image_later_hashes_together"), engine.begin() as connection:
        connection.execute(text(f"UPDATE image SET {column} = NULL, turned = substring(turned, 1, {size})"))


@pytest.mark.parametrize(
    ("change", "stamped"),
    [
        ("phash = 1", True),
        ("whash_db4 = 1", True),
        ("colorhash = 1", True),
        ("page = true", True),
        ("pattern = 1", True),
        ("colour_code = decode(repeat('07', 16), 'hex')", True),
        ("status = 'low_information'", True),
        ("deleted_at = clock_timestamp()", True),
        ("""labels = '{"a": 1}'""", False),
        ("screened_at = clock_timestamp()", False),
        ("file_name = 'x'", False),
    ],
)
def test_only_changes_that_the_index_must_see_are_stamped(engine: Engine, change: str, stamped: bool) -> None:
    insert_rows(engine, 1, np.random.default_rng(0))
    with engine.begin() as connection:
        before = connection.execute(text("SELECT created_seq, change_seq, uploaded_at FROM image")).one()
        connection.execute(text(f"UPDATE image SET {change}"))
        after = connection.execute(text("SELECT created_seq, change_seq, uploaded_at FROM image")).one()
    assert before.created_seq == before.change_seq == after.created_seq
    assert before.uploaded_at == after.uploaded_at
    assert (after.change_seq > before.change_seq) is stamped


def test_stamps_are_drawn_under_the_lock(engine: Engine) -> None:
    with engine.connect() as holder, engine.connect() as waiter:
        key = holder.execute(text("SELECT prosrc FROM pg_proc WHERE proname = 'take_stamp_lock'")).scalar()
        assert key is not None
        holder.execute(text("SELECT pg_advisory_xact_lock(427020085613)"))
        assert "427020085613" in key
        waiter.execute(text("SET LOCAL lock_timeout = 100"))
        with pytest.raises(DBAPIError, match="lock timeout"):
            waiter.execute(text("UPDATE image SET deleted_at = clock_timestamp() WHERE false"))


def to_revision(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        go = command.upgrade if revision == "head" else command.downgrade
        go(config, revision)
        connection.commit()


def test_images_stored_before_a_migration_are_kept_and_known_to_lack_what_it_brings(engine: Engine) -> None:
    rows = insert_rows(engine, 20, np.random.default_rng(3))
    shown = "SELECT image_id, phash, verifier, substring(turned, 1, 512), change_seq FROM image ORDER BY id"

    def stored() -> list[tuple[object, ...]]:
        with engine.connect() as connection:
            return [tuple(map(plain, row)) for row in connection.execute(text(shown))]

    whole = stored()
    to_revision(engine, "0002")
    before = stored()
    # Going back cuts `turned`, which is a change like any other.
    assert [row[:-1] for row in before] == [row[:-1] for row in whole]
    to_revision(engine, "head")
    assert stored() == before
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert connection.execute(text("SELECT max(octet_length(turned)) FROM image")).scalar() == 512
        assert len(images.to_fill(connection, 0, 100)) == 20
    with session.autocommit(engine) as connection:
        index = Collection(engine).caught_up(connection)
    assert len(index) == 20
    assert index.lacking("whash_db4") == 20
    assert sorted(index.indexes["phash"].contents()[1].tolist()) == sorted(rows.seqs)


def test_templates_and_days_from_before_they_had_columns_get_them(engine: Engine) -> None:
    insert_rows(engine, 3, np.random.default_rng(3))
    to_revision(engine, "0005")
    with engine.begin() as connection:
        connection.execute(
            text(
                'UPDATE image SET labels = \'{"claimed_at": "2026-02-03"}\' WHERE id = (SELECT min(id) FROM image);'
                " INSERT INTO template (template_id, name, enabled, fingerprint, max_distance, code, width, height,"
                "  scanned_images) SELECT gen_random_uuid(), 'rust', true, 'pattern', 120, decode(repeat('00', 64),"
                "  'hex'), 9, 9, 3 FROM generate_series(1, 2);"
                " UPDATE template SET deleted_at = now(), name = NULL, scanned_images = NULL"
                "  WHERE id = (SELECT max(id) FROM template)"
            )
        )
    to_revision(engine, "head")
    with engine.connect() as connection:
        templates = connection.execute(text("SELECT scanned_of FROM template ORDER BY id")).scalars().all()
        days = connection.execute(
            text("SELECT day, (uploaded_at AT TIME ZONE 'UTC')::date FROM image ORDER BY id")
        ).all()
    assert templates == [3, None]
    assert [str(day) for day, _ in days] == ["2026-02-03", *(str(uploaded) for _, uploaded in days[1:])]


def test_templates_by_keypoints_are_tombstones_to_what_knows_none(engine: Engine) -> None:
    insert_rows(engine, 1, np.random.default_rng(4))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO template (template_id, name, enabled, fingerprint, max_distance, code, width, height)"
                " SELECT gen_random_uuid(), f, true, f, 6, decode(repeat('00', size), 'hex'), 9, 9"
                "  FROM (VALUES ('pattern', 64), ('keypoints', 250)) AS v (f, size);"
                " INSERT INTO template_match (template_id, image_id, distance)"
                "  SELECT t.id, i.id, 3 FROM template t, image i"
            )
        )
    for size in (0, 24, 64):
        with pytest.raises(DBAPIError, match="template_code_size"), engine.begin() as connection:
            connection.execute(
                text(
                    f"UPDATE template SET code = decode(repeat('00', {size}), 'hex')"
                    " WHERE fingerprint = 'keypoints'"
                )
            )
    to_revision(engine, "0007")
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT fingerprint, deleted_at IS NULL AS live, name,"
                " (SELECT count(*) FROM template_match m WHERE m.template_id = t.id) AS matches"
                " FROM template t ORDER BY id"
            )
        ).all()
    assert [tuple(row) for row in rows] == [("pattern", True, "pattern", 1), (None, False, None, 0)]
    to_revision(engine, "head")


def test_keypoints_from_before_they_were_canonical_are_to_be_made_anew(engine: Engine) -> None:
    insert_rows(engine, 3, np.random.default_rng(5))
    to_revision(engine, "0008")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO template (template_id, name, enabled, fingerprint, max_distance, code, width, height,"
                " scanned_seq) SELECT gen_random_uuid(), f, true, f, 6, decode(repeat('00', size), 'hex'), 9, 9, 1"
                "  FROM (VALUES ('pattern', 64), ('keypoints', 480)) AS v (f, size);"
                " UPDATE image SET keypoint_count = 1;"
                " INSERT INTO image_keypoints SELECT created_seq, '\\x0102030405060708', '\\x01020304' FROM image;"
                " INSERT INTO template_match (template_id, image_id, distance)"
                "  SELECT t.id, i.id, 3 FROM template t, image i"
            )
        )
    to_revision(engine, "head")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM image_keypoints")).scalar() == 0
        assert len(images.to_fill(connection, 0, 9)) == 3
        [pattern] = templates.switched_on(connection).all
        assert pattern.fingerprint == "pattern"
        assert [row.fingerprint for row in templates.to_make(connection)] == ["keypoints"]
        assert [row.fingerprint for row in templates.to_scan(connection)] == ["pattern"]
        assert connection.execute(text("SELECT count(*) FROM template_match")).scalar() == 3
    to_revision(engine, "0008")
    to_revision(engine, "head")


def plain(value: object) -> object:
    return bytes(value) if isinstance(value, memoryview) else value
