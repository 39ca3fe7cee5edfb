"""`claimprint bench`: measures this machine."""

import json
from typing import Any

import click
from click.core import ParameterSource

from app.cli.opened import open_engine, read_settings
from app.errors import InvalidValue


@click.group("bench")
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
    with open_engine(read_settings()) as engine, engine.connect() as connection:
        loaded = stamps.load(connection)
    hashes = loaded.hashes[fingerprint]
    if fingerprint == stamps.LATER_HASH:
        hashes = hashes[loaded.filled]
    if not len(hashes):
        raise InvalidValue("the collection has no such hash yet: upload pictures first")
    return hashes
