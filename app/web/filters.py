"""Labels and days in a query: which images are meant."""

import datetime as dt
import re
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.catalog.filters import Filter
from app.errors import InvalidValue
from app.web.form import read_labels
from app.web.query import Number

MAX_PER_PAGE = 200
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def _iso(value: object) -> object:
    if value is not None and not (isinstance(value, str) and _DAY.fullmatch(value)):
        raise ValueError("a day is written as 2026-11-26")
    if value is not None and not "1970" <= value[:4] <= "2999":
        raise ValueError("a day is of the years 1970 to 2999")
    return value


Day = Annotated[dt.date, BeforeValidator(_iso)]


class Filtered(BaseModel):
    """Query parameters that choose images; an unknown one is refused, for a typo would change the answer."""

    model_config = ConfigDict(extra="forbid")

    labels: str | None = Field(
        default=None,
        description="JSON object: images that have all these labels.",
        examples=['{"plant": "B"}'],
    )
    from_day: Day | None = Field(
        default=None,
        alias="from",
        description="First day, by the label `claimed_at` where that begins with a day, else of the upload (UTC).",
    )
    to_day: Day | None = Field(default=None, alias="to", description="Last day, inclusive.")

    def wanted(self) -> Filter:
        """The filter. Raises InvalidValue."""
        return checked_filter(Filter(read_labels(self.labels), self.from_day, self.to_day))


class Paged(Filtered):
    """Query parameters of a list that comes in pages."""

    limit: Number = Field(default=50, ge=1, le=MAX_PER_PAGE, description="Per page.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


def checked_filter(wanted: Filter) -> Filter:
    """The filter itself. Raises InvalidValue for days that end before they begin."""
    if wanted.from_day and wanted.to_day and wanted.from_day > wanted.to_day:
        raise InvalidValue("the day `from` is after the day `to`", field="from")
    return wanted
