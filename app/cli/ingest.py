"""`claimprint ingest`: takes in pictures from files and folders."""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.opened import UNAVAILABLE, open_database, read_settings
from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from app.sources.bulk import Taken

SOME_REJECTED = 1


@click.command()
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
    settings = read_settings()
    counts = dict.fromkeys(("new", "already stored", "rejected", "used in another claim"), 0)
    started = time.monotonic()
    broken_off = False
    with open_database(settings, make=True) as url:
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


def _tie(engine: "Engine", settings: Settings) -> None:
    from app.catalog import schema, workers
    from app.serving import tie_pictures

    schema.migrate(engine)
    with engine.connect() as connection:
        tie_pictures(settings.data_dir / "pictures", str(workers.collection_id(connection)))
