"""What commands open: the settings, the database, a worker where none runs."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import click

from app.errors import ClaimprintError, StartupError
from app.settings import Settings, settings_from_environment

if TYPE_CHECKING:
    from sqlalchemy import Engine

ACTOR = "command line"
UNAVAILABLE = 3
"""Exit code where trying again may help."""


def read_settings() -> Settings:
    """The settings in the environment. Raises ClaimprintError for one that is out of range."""
    from pydantic import ValidationError

    try:
        return settings_from_environment()
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ClaimprintError(f"a setting in the environment is out of range: {found}") from None


@contextmanager
def open_database(settings: Settings, *, make: bool = False) -> Iterator[str]:
    """URL of the database: the one named, the embedded one that runs, or one started for this command.

    With `make` a new one is made where there is none; otherwise that is an error, for it is most likely the
    wrong folder.
    """
    from app.embedded import EmbeddedServer, join

    url = settings.database_url or join(settings.data_dir)
    if url:
        yield url
        return
    new = not (settings.data_dir / "postgres").exists()
    if new and make:
        click.echo(f"making a new database in {settings.data_dir.absolute()}", err=True)
    elif new:
        raise StartupError(
            f"there is no database in {settings.data_dir.absolute()}; set DATA_DIR or DATABASE_URL as for the"
            " service, or run `claimprint serve` first"
        )
    with EmbeddedServer.start(settings.data_dir) as server:
        yield server.url


@contextmanager
def open_engine(settings: Settings, *, make: bool = False) -> "Iterator[Engine]":
    """Engine on the database, migrated."""
    from app.catalog import schema, session

    with open_database(settings, make=make) as url:
        engine = session.make_engine(settings, url)
        try:
            schema.migrate(engine)
            yield engine
        except ClaimprintError:
            raise
        except Exception as error:
            translated = session.translated(error)
            if translated is error:
                raise
            raise translated from error
        finally:
            engine.dispose()


@contextmanager
def worker_unless_one_runs(engine: "Engine", settings: Settings) -> "Iterator[None]":
    """Run jobs in this process for as long as no worker does."""
    from app.catalog import workers
    from app.jobs.keeper import Keeper
    from app.parts import make_parts

    with engine.connect() as connection:
        running = workers.alive(connection, settings.job_stale_seconds)
    if running:
        yield
        return
    url = engine.url.render_as_string(hide_password=False)
    with closing(make_parts(settings.model_copy(update={"database_url": url}))) as parts:
        with engine.connect() as connection:
            # The keeper sweeps: see `Pictures.tie`.
            parts.pictures.tie(str(workers.collection_id(connection)))
        keeper = Keeper(parts)
        keeper.start()
        try:
            yield
        finally:
            keeper.stop()
