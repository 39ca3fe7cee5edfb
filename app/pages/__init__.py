"""The HTML of reports: one base, and what each report makes of it."""

from jinja2 import Environment, PackageLoader, StrictUndefined

PAGES = Environment(
    loader=PackageLoader("app", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def _number(value: int) -> str:
    return f"{value:,}"


PAGES.filters["number"] = _number
