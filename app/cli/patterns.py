"""`claimprint patterns`: which damage keeps coming back."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.cli.filters import filter_of, filter_options
from app.cli.opened import open_engine, read_settings

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID


@click.group("patterns")
def patterns_group() -> None:
    """Tell which damage keeps coming back."""


@patterns_group.command("report")
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The page to write."
)
@click.option("--weeks", default=12, show_default=True, type=click.IntRange(1, 104), help="To plot.")
@click.option("--clusters", default=20, show_default=True, type=click.IntRange(0, 200), help="The largest.")
@click.option("--run", "run_id", type=click.UUID, help="Run of clustering; left out, the newest.")
@filter_options
def report_patterns(
    out: Path,
    weeks: int,
    clusters: int,
    run_id: "UUID | None",
    labels: tuple[str, ...],
    from_day: "datetime | None",
    to_day: "datetime | None",
) -> None:
    """Write one HTML page on clusters and templates, that opens without this service and offline.

    Clusters are those of a run started by POST /clusters. A label's VALUE is a text, or JSON: 7, true, "7".
    """
    from app.catalog import session
    from app.pattern_report import pattern_report
    from app.report_page import report_page
    from app.storage import open_pictures

    wanted = filter_of(labels, from_day, to_day)
    if not out.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {out.absolute().parent}", param_hint="--out")
    settings = read_settings()
    with open_engine(settings) as engine, session.reading(engine) as connection:
        report = pattern_report(
            connection,
            open_pictures(settings),
            wanted,
            run_id=run_id,
            weeks=weeks,
            most_clusters=clusters,
        )
    # In one step: whoever opens it meanwhile sees the old page or the new one.
    beside = out.with_name(f"{out.name}.new")
    beside.write_text(report_page(report), encoding="utf-8")
    beside.replace(out)
    click.echo(f"{out}: {len(report.clusters)} clusters, {len(report.templates)} templates", err=True)
