"""`claimprint`: serve, migrate, reindex, and the commands of the other files here."""

import json
import sys
import time
from typing import Any

import click

from app.cli.bench import bench_group
from app.cli.ingest import ingest
from app.cli.keys import keys_group
from app.cli.opened import ACTOR, UNAVAILABLE, open_engine, read_settings, worker_unless_one_runs
from app.cli.patterns import patterns_group
from app.cli.report import report_group
from app.errors import ClaimprintError, Unavailable


class _Commands(click.Group):
    """Prints our own errors as one line and exits with 1, or with 3 where trying again may help."""

    def invoke(self, context: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(context)
        except ClaimprintError as error:
            click.echo(f"claimprint: {error.message}", err=True)
            context.exit(UNAVAILABLE if isinstance(error, Unavailable) else 1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="claimprint")
def main() -> None:
    """Claimprint finds claim pictures that were used before.

    Settings come from the environment: DATABASE_URL (unset: an embedded PostgreSQL), DATA_DIR, HOST, PORT,
    WORKERS and those of app/settings.py.
    """


@main.command()
def serve() -> None:
    """Run the service until it is stopped."""
    import logging

    from app.decoders import start_decoders

    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    logging.getLogger("alembic.runtime.plugins").setLevel(logging.WARNING)
    settings = read_settings()
    # With one worker they are this process's own, and start while everything else is imported.
    decoders = start_decoders(settings) if settings.workers == 1 else None
    from app.serving import serve as run

    run(settings, decoders)


@main.command()
def migrate() -> None:
    """Bring the database to the newest migration (serve does so too)."""
    with open_engine(read_settings(), make=True):
        click.echo("the database is at the newest migration")


@main.command()
@click.option("--rehash", is_flag=True, help="Compute the fingerprints anew first.")
@click.option("--rescreen", is_flag=True, help="Compare all images anew, as after a change of distances.")
def reindex(rehash: bool, rescreen: bool) -> None:
    """Have every worker rebuild its index; wait for it, and tell what was wrong with the old one."""
    from app.catalog import events, jobs
    from app.jobs.reindex import REINDEX

    settings = read_settings()
    params = {"rehash": rehash, "rescreen": rescreen}
    with open_engine(settings) as engine:
        with engine.begin() as connection:
            job = jobs.create_job(connection, kind=REINDEX, params=params, requested_by=ACTOR)
            events.log_event(
                connection, actor=ACTOR, action="reindex", subject=str(job.job_id), detail=params
            )
        with worker_unless_one_runs(engine, settings):
            while job.state in jobs.ACTIVE:
                time.sleep(0.2)
                with engine.connect() as connection:
                    found = jobs.find_job(connection, job.job_id)
                    if found is None:
                        break
                    job = found
    click.echo(json.dumps({"state": job.state, "error": job.error, "result": job.result}, indent=2))
    if job.state != "succeeded":
        sys.exit(1)


for command in (ingest, keys_group, patterns_group, report_group, bench_group):
    main.add_command(command)
