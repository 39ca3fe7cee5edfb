"""The command line: `claimprint serve`, `ingest`, `keys`, `reindex`, `migrate`, `bench`. Modules load as needed."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from app.errors import ClaimprintError, InvalidValue, StartupError, Unavailable
from app.settings import Settings, settings_from_environment

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.sources.bulk import Taken

ACTOR = "command line"
SOME_REJECTED = 1
UNAVAILABLE = 3


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
    settings = _settings()
    # With one worker they are this process's own, and start while everything else is imported.
    decoders = start_decoders(settings) if settings.workers == 1 else None
    from app.serving import serve as run

    run(settings, decoders)


@main.command()
def migrate() -> None:
    """Bring the database to the newest migration (serve does so too)."""
    with _engine(_settings(), make=True):
        click.echo("the database is at the newest migration")


@main.group("keys")
def keys_group() -> None:
    """Make, list and revoke API keys."""


@keys_group.command("create")
@click.option("--client", required=True, help="Who will use the key; keys of one client see the same images.")
@click.option("--role", required=True, type=click.Choice(["portal", "qc", "admin"]))
def create_key(client: str, role: str) -> None:
    """Make a key and print it, alone, on the last line of stdout. It is not stored and not shown again."""
    from app.catalog import events, keys

    with _engine(_settings(), make=True) as engine, engine.begin() as connection:
        key = keys.create_key(connection, client_name=client, role=role)
        prefix = key[: keys.PREFIX_CHARACTERS]
        events.log_event(
            connection,
            actor=ACTOR,
            action="key.create",
            subject=prefix,
            detail={"client": client, "role": role},
        )
    click.echo(key)


@keys_group.command("list")
def list_keys() -> None:
    """List keys by prefix."""
    from app.catalog import keys

    with _engine(_settings()) as engine, engine.connect() as connection:
        for row in keys.list_keys(connection):
            state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}Z" if row.revoked_at else "active"
            click.echo(f"{row.prefix}  {row.role:6}  {row.created_at:%Y-%m-%d %H:%M}Z  {state}  {row.client}")


@keys_group.command("revoke")
@click.argument("prefix")
def revoke_key(prefix: str) -> None:
    """Make the key with this PREFIX worthless at once."""
    from app.catalog import events, keys

    with _engine(_settings()) as engine, engine.begin() as connection:
        keys.revoke_key(connection, prefix)
        events.log_event(connection, actor=ACTOR, action="key.revoke", subject=prefix)
    click.echo(f"revoked {prefix}")


@main.command()
@click.option("--rehash", is_flag=True, help="Compute the fingerprints anew first.")
@click.option("--rescreen", is_flag=True, help="Compare all images anew, as after a change of distances.")
def reindex(rehash: bool, rescreen: bool) -> None:
    """Have every worker rebuild its index; wait for it, and tell what was wrong with the old one."""
    from app.catalog import events, jobs
    from app.jobs.reindex import REINDEX

    settings = _settings()
    params = {"rehash": rehash, "rescreen": rescreen}
    with _engine(settings) as engine:
        with engine.begin() as connection:
            job = jobs.create_job(connection, kind=REINDEX, params=params, requested_by=ACTOR)
            events.log_event(
                connection, actor=ACTOR, action="reindex", subject=str(job.job_id), detail=params
            )
        with _worker_unless_one_runs(engine, settings):
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


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--claim-from",
    required=True,
    type=click.Choice(["parent", "name", "csv"]),
    help="Claim id: the folder's name, the file's name up to the first _ or ., or a table (see --claims).",
)
@click.option(
    "--claims",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV with the columns file (relative to it) and claim, for --claim-from csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the answer for every file, a JSON line each.")
def ingest(paths: tuple[Path, ...], claim_from: str, claims: Path | None, as_json: bool) -> None:
    """Take in pictures from files and folders, with the same answers as an upload.

    A bad file is reported and passed over. Running it again goes on where it stopped: what is stored already is
    not decoded again. Exit code 0: all taken; 1: some rejected; 3: broke off, also by Ctrl-C: run it again.
    """
    from app.parts import make_parts
    from app.sources.bulk import take_files
    from app.sources.files import claim_rule, find_files

    rule = claim_rule(claim_from, claims)
    files = list(find_files(paths))
    settings = _settings()
    counts = dict.fromkeys(("new", "already stored", "rejected", "used in another claim"), 0)
    started = time.monotonic()
    broken_off = False
    with _database(settings, make=True) as url:
        parts = make_parts(settings.model_copy(update={"database_url": url}))
        try:
            _tie(parts.engine, settings)
            taken = take_files(parts.intake, files, rule, at_once=settings.decode_processes + 1)
            with click.progressbar(
                taken, length=len(files), label="pictures", file=sys.stderr, show_pos=True
            ) as progress:
                for item in progress:
                    _count(item, counts)
                    _show(item, as_json=as_json)
        except KeyboardInterrupt:
            broken_off = True
        finally:
            parts.close()
    seconds = time.monotonic() - started
    summary = ", ".join(f"{number} {name}" for name, number in counts.items())
    click.echo(f"{len(files)} files in {seconds:.1f} s: {summary}", err=True)
    if broken_off:
        click.echo("stopped; run it again to go on", err=True)
        sys.exit(UNAVAILABLE)
    sys.exit(SOME_REJECTED if counts["rejected"] else 0)


@main.group("bench")
def bench_group() -> None:
    """Measure this machine."""


@bench_group.command("index")
@click.option("--size", default=150_000, show_default=True, type=click.IntRange(1), help="Random hashes.")
@click.option("--collection", is_flag=True, help="This service's own hashes instead.")
@click.option("--fingerprint", default="phash", show_default=True, help="Which, of the collection.")
@click.option("--radius", "radii", multiple=True, type=click.IntRange(0, 64), help="Only these radii.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON: a row for each engine and radius.")
def bench_index(size: int, collection: bool, fingerprint: str, radii: tuple[int, ...], as_json: bool) -> None:
    """Time the index engines side by side, and those of others that are installed, one search at a time."""
    source = click.get_current_context().get_parameter_source
    if collection and source("size") != ParameterSource.DEFAULT:
        raise click.UsageError("--collection has a size of its own: leave --size out")
    if not collection and source("fingerprint") != ParameterSource.DEFAULT:
        raise click.UsageError("--fingerprint names one of the collection: it goes with --collection")
    from dataclasses import asdict

    import numpy as np

    from app.index.timing import RADII, IndexBench

    if collection:
        hashes = _stored_hashes(fingerprint)
    else:
        hashes = np.random.default_rng(0).integers(0, 2**64, size, dtype=np.uint64)
    bench = IndexBench(hashes)
    timings = list(bench.run(radii or RADII))
    if as_json:
        click.echo(json.dumps([asdict(timing) for timing in timings], indent=2))
        return
    names = list(dict.fromkeys(timing.engine for timing in timings))
    cells = {(timing.radius, timing.engine): f"{timing.median_us:.1f}" for timing in timings}
    found = {timing.radius: timing.found for timing in timings}
    click.echo(f"{bench.size} hashes, median microseconds a search, one thread\n")
    click.echo(f"| radius | {' | '.join(names)} | found |")
    click.echo("|" + " ---: |" * (len(names) + 2))
    for radius, mean in found.items():
        click.echo(
            f"| {radius} | {' | '.join(cells.get((radius, name), '') for name in names)} | {mean:.1f} |"
        )
    click.echo()
    for built in bench.built:
        click.echo(f"{built.engine}: built in {built.seconds:.2f} s, {built.bytes_a_hash:.1f} bytes a hash")
    if bench.absent:
        click.echo(f"not installed, so not compared: {', '.join(bench.absent)}")


def _stored_hashes(fingerprint: str) -> Any:
    """Hashes uint64[n] of all searchable images."""
    from app.catalog import stamps

    if fingerprint not in stamps.HASHES:
        raise InvalidValue(f"no fingerprint {fingerprint}; there are {', '.join(stamps.HASHES)}")
    with _engine(_settings()) as engine, engine.connect() as connection:
        loaded = stamps.load(connection)
    hashes = loaded.hashes[fingerprint]
    if fingerprint == stamps.LATER_HASH:
        hashes = hashes[loaded.filled]
    if not len(hashes):
        raise InvalidValue("the collection has no such hash yet: upload pictures first")
    return hashes


def _count(item: "Taken", counts: dict[str, int]) -> None:
    from app.matching.kinds import COPIES

    counts["rejected"] += len(item.outcome.rejections)
    for answer in item.outcome.answers:
        counts["new" if answer.created else "already stored"] += 1
        counts["used in another claim"] += answer.verdict in COPIES


def _show(item: "Taken", *, as_json: bool) -> None:
    from app.matching.kinds import COPIES
    from app.sources.bulk import shown

    path = shown(str(item.path))
    if as_json:
        from app.web.schemas import upload_json

        answer = upload_json(item.claim_id, item.outcome).model_dump(mode="json", exclude_none=False)
        click.echo(json.dumps({"path": path, **answer}))
        return
    for rejection in item.outcome.rejections:
        click.echo(f"\n{path}: rejected: {rejection.error.message}", err=True)
    for found in item.outcome.answers:
        if found.verdict in COPIES:
            other = next(row for row in found.matches.rows if row.claim_id != found.row.claim_id)
            click.echo(f"{path}: {found.verdict} of image {other.image_id} in claim {other.claim_id}")


def _settings() -> Settings:
    from pydantic import ValidationError

    try:
        return settings_from_environment()
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ClaimprintError(f"a setting in the environment is out of range: {found}") from None


@contextmanager
def _database(settings: Settings, *, make: bool = False) -> Iterator[str]:
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
def _engine(settings: Settings, *, make: bool = False) -> "Iterator[Engine]":
    """Engine on the database, migrated."""
    from app.catalog import schema, session

    with _database(settings, make=make) as url:
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


def _tie(engine: "Engine", settings: Settings) -> None:
    from app.catalog import schema, workers
    from app.serving import tie_pictures

    schema.migrate(engine)
    with engine.connect() as connection:
        tie_pictures(settings.data_dir / "pictures", str(workers.collection_id(connection)))


@contextmanager
def _worker_unless_one_runs(engine: "Engine", settings: Settings) -> "Iterator[None]":
    """Run jobs in this process for as long as no worker does."""
    from app.catalog import workers
    from app.jobs.keeper import Keeper
    from app.parts import make_parts

    with engine.connect() as connection:
        running = workers.alive(connection, settings.job_stale_seconds)
    if running:
        yield
        return
    parts = make_parts(
        settings.model_copy(update={"database_url": engine.url.render_as_string(hide_password=False)})
    )
    keeper = Keeper(parts)
    keeper.start()
    try:
        yield
    finally:
        keeper.stop()
        parts.close()
