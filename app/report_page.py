"""A report on clusters and templates as one HTML page that needs nothing beside it."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from threading import Lock
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.typing import RcKeyType

from app.pages import PAGES

_INK = "#123456"  # stands for the page's own text colour until the chart is inline
_BAR = "#4a8ad4"  # to be seen on white and on black
_CHART_INCHES = (8.0, 1.9)
_MOST_DATES = 8  # below a chart, so that they do not touch
# Names of fonts stay names, and element ids depend on what is drawn only: equal charts are equal bytes.
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "claimprint",
    "font.family": "DejaVu Sans",  # matplotlib brings it: every machine measures alike
    "font.size": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": _INK,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_NO_METADATA = {"Creator": None, "Date": None, "Format": None, "Type": None}
_DRAWING = Lock()  # matplotlib's settings are those of the process


@dataclass(frozen=True, slots=True)
class Section:
    """One cluster or template.

    The anchor is unique in the report and begins with neither page- nor chart-. `weekly` has the images of each
    of the report's weeks; `labels` has a label's values, each with its images, most frequent first; `sheet` and
    `mean` are PNGs.
    """

    title: str
    anchor: str
    images: int
    claims: int
    first_seen: date | None
    last_seen: date | None
    facts: Sequence[tuple[str, str]]
    weekly: Sequence[int]
    labels: Mapping[str, Sequence[tuple[str, int]]]
    sheet: bytes | None
    mean: bytes | None


@dataclass(frozen=True, slots=True)
class Report:
    """What is reported: made when (UTC), over which weeks (their Mondays), what was found, and how to read it."""

    made_at: datetime
    facts: Sequence[tuple[str, str]]
    weeks: Sequence[date]
    clusters: Sequence[Section]
    templates: Sequence[Section]
    cautions: Sequence[str]


def report_page(report: Report) -> str:
    """The page of a report: the same report, the same text.

    It loads nothing and runs nothing, and every text of the report is shown as it is. Any thread may call this.
    Raises ValueError where a section has not a count for each week.
    """
    parts = [
        (
            kind,
            [
                (section, _chart(report.weeks, section.weekly, f"chart-{kind}-{number}-"))
                for number, section in enumerate(sections)
            ],
        )
        for kind, sections in (("cluster", report.clusters), ("template", report.templates))
    ]
    return PAGES.get_template("report.html").render(report=report, parts=parts)


def _chart(weeks: Sequence[date], counts: Sequence[int], prefix: str) -> str:
    """Bars for each week as an SVG element whose ids begin with the prefix, "" without weeks.

    No text of the report is in it, so that it needs no escaping.
    """
    if len(weeks) != len(counts):
        raise ValueError(f"{len(counts)} weekly counts for {len(weeks)} weeks")
    if not weeks:
        return ""
    with _DRAWING, mpl.rc_context(_STYLE):
        figure = Figure(figsize=_CHART_INCHES, layout="constrained")
        axes = figure.add_subplot()
        axes.bar(range(len(weeks)), counts, width=0.8, color=_BAR)
        axes.set_xlim(-0.6, len(weeks) - 0.4)
        axes.set_ylim(0, 1.08 * max(1, *counts))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        shown = range(0, len(weeks), -(-len(weeks) // _MOST_DATES))
        axes.set_xticks(shown, [weeks[place].isoformat() for place in shown])
        axes.set_ylabel("images")
        axes.spines[["top", "right"]].set_visible(False)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata=_NO_METADATA)
    text = file.getvalue()
    # Inline, the page's colours and its ids are those of the chart, too.
    element = text[text.index("<svg") :].replace(_INK, "currentColor")
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}", element)


def _share(count: int, images: int) -> str:
    """How many of the images, in percent.

    >>> _share(1, 3)
    '33.3 %'
    """
    return f"{100 * count / images:.1f} %" if images else ""


def _data_uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


PAGES.filters.update(share=_share, data_uri=_data_uri)
