"""Alembic's door: runs the migrations on the connection that `catalog.schema` hands over, or on DATABASE_URL."""

from alembic import context
from sqlalchemy import create_engine

from app.catalog.models import metadata
from app.settings import settings_from_environment


def run() -> None:
    connection = context.config.attributes.get("connection")
    if connection is None:
        url = settings_from_environment().database_url
        if not url:
            raise SystemExit(
                "alembic needs DATABASE_URL; `claimprint migrate` also knows the embedded server"
            )
        with create_engine(url).connect() as connection:
            _migrate(connection)
    else:
        _migrate(connection)


def _migrate(connection) -> None:
    context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


run()
