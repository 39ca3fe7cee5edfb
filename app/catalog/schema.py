"""Bringing the tables to the newest migration, and checking that they are there."""

from pathlib import Path

from sqlalchemy import Connection, Engine, text

import app

MIGRATIONS = Path(app.__file__).resolve().parent.parent / "migrations"
# Held while migrating, so that several instances that start together take turns ('migra' in ASCII).
MIGRATION_LOCK = 0x6D69677261


def newest_revision() -> str:
    """Name of the newest migration on disk."""
    return max(path.name.split("_", 1)[0] for path in (MIGRATIONS / "versions").glob("[0-9]*_*.py"))


def current_revision(connection: Connection) -> str | None:
    """Name of the migration the database is at; None for an empty database."""
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def migrate(engine: Engine) -> None:
    """Bring the database to the newest migration; does nothing, quickly, when it is there already."""
    with engine.connect() as connection:
        if current_revision(connection) == newest_revision():
            return
        connection.rollback()
        # Alembic takes 0.15 s to import, which a start on an up-to-date database need not pay.
        from alembic import command
        from alembic.config import Config

        connection.execute(text("SET lock_timeout = 0; SET statement_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})
        connection.commit()
        # This connection's time limits were lifted: do not give it back to the pool.
        connection.invalidate()
