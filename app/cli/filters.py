"""Which images a command is about: its options, and the filter they make."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from datetime import datetime

    from app.catalog.filters import Filter

Command = TypeVar("Command", bound=Callable[..., Any])


def filter_options(command: Command) -> Command:
    """Give a command the parameters of `filter_of`."""
    day = click.DateTime(["%Y-%m-%d"])
    for option in (
        click.option("--to", "to_day", type=day, help="Only images up to this day."),
        click.option("--from", "from_day", type=day, help="Only images from this day on."),
        click.option(
            "--label", "labels", multiple=True, metavar="NAME=VALUE", help="Only images with this label."
        ),
    ):
        command = option(command)
    return command


def filter_of(labels: tuple[str, ...], from_day: "datetime | None", to_day: "datetime | None") -> "Filter":
    """The filter that the options mean. Raises BadParameter."""
    from app.catalog.filters import Filter

    if from_day and to_day and from_day > to_day:
        raise click.BadParameter("it is after --to", param_hint="--from")
    return Filter(
        dict(map(_label, labels)), from_day.date() if from_day else None, to_day.date() if to_day else None
    )


def _label(text: str) -> tuple[str, Any]:
    name, sign, value = text.partition("=")
    if not name or not sign:
        raise click.BadParameter(f"{text} is not NAME=VALUE", param_hint="--label")
    try:
        parsed = json.loads(value)
    except ValueError:
        return name, value
    return name, value if isinstance(parsed, dict | list | None) else parsed
