"""`claimprint report`: what is in the collection more than once."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.filters import filter_of, filter_options
from app.cli.opened import open_engine, read_settings

if TYPE_CHECKING:
    from datetime import datetime


@click.group("report")
def report_group() -> None:
    """Report on the collection."""


@report_group.command("duplicates")
@click.option(
    "--out",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write: .html, .csv, .jsonl or .parquet.",
)
@filter_options
def report_duplicates(
    out: Path, labels: tuple[str, ...], from_day: "datetime | None", to_day: "datetime | None"
) -> None:
    """Write all families of copies: images that matches join, directly or through others.

    Those across claims come first, largest first; then those of one claim alone. The same scene joins none. A
    label's VALUE is a text, or JSON: 7, true, "7".
    """
    from app.audit import format_of, read_audit, write_audit
    from app.storage import open_pictures

    wanted = filter_of(labels, from_day, to_day)
    form = format_of(out)
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.absolute().parent}", param_hint="--out")
    settings = read_settings()
    with open_engine(settings) as engine:
        audit = read_audit(engine, wanted)
    try:
        write_audit(audit, open_pictures(settings), out, form)
    except OSError as error:
        raise click.ClickException(f"{out} can't be written: {error.strerror}") from error
    click.echo(
        f"{out}: {len(audit.families)} families, {audit.across} of them across claims, with {audit.members} images"
        f" of {audit.claims} claims, as of {audit.as_of:%Y-%m-%d %H:%M:%S} UTC; of {audit.images} images"
        f" {audit.not_compared_yet} were not compared with all others yet",
        err=True,
    )
