"""Medians, and how a run is shown: a table, the bars it is held to, or JSON."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import click
import numpy as np


@dataclass(frozen=True, slots=True)
class Bar:
    """One figure and the most that it may be."""

    name: str
    value: float
    limit: float
    unit: str

    @property
    def met(self) -> bool:
        """Whether the figure is within its limit."""
        return self.value <= self.limit

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.value:.2f} {self.unit}, at most {self.limit:g} asked"
            f" - {'met' if self.met else 'MISSED'}"
        )


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share of the values lies, from 0 to 1; interpolated."""
    return float(np.quantile(values, share))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The rows as a Markdown table: first column left, numbers right."""
    widths = [max(len(line[column]) for line in (header, *rows)) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        numbers = (cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True))
        return f"| {' | '.join([cells[0].ljust(widths[0]), *numbers])} |"

    return "\n".join(line(cells) for cells in (header, rule, *rows))


def times_table(title: str, measured: Mapping[str, Sequence[float]]) -> str:
    """How often what was timed, its median, and what 95 % of times are within, in milliseconds."""
    rows = [
        [name, str(len(times)), f"{quantile(times, 0.5):.1f}", f"{quantile(times, 0.95):.1f}"]
        for name, times in measured.items()
    ]
    return table([title, "times", "median ms", "95% within ms"], rows)


def show(figures: dict[str, Any], shown: str, bars: Sequence[Bar], *, as_json: bool) -> None:
    """Print a run's figures, as JSON with its machine or as the table `shown`, and the bars it is held to."""
    if as_json:
        report = figures | {"bars": [asdict(bar) | {"met": bar.met} for bar in bars], "machine": machine()}
        click.echo(json.dumps(report, indent=2))
        return
    click.echo(shown)
    click.echo()
    for bar in bars:
        click.echo(bar)
    click.echo(", ".join(f"{name} {value}" for name, value in machine().items()))


def machine() -> dict[str, str | int]:
    """What the absolute figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "pillow": version("pillow"),
        "numpy": version("numpy"),
        "load": round(os.getloadavg()[0], 1),
    }
