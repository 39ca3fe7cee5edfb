"""Query parameters read strictly: what a client did not mean is refused, not guessed."""

import re
from typing import Annotated

from fastapi import Request
from pydantic import BeforeValidator

from app.errors import InvalidValue

_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


def _plain(value: object) -> object:
    if isinstance(value, str) and _DIGITS.fullmatch(value) is None:
        raise ValueError("a whole number is written in decimal digits alone")
    return value


Number = Annotated[int, BeforeValidator(_plain)]
"""An int in the digits 0 to 9: no sign, space or underscore, which Python's own reading would take."""


async def each_parameter_once(request: Request) -> None:
    """Raise InvalidValue for a repeated query parameter, of which the framework would take the last."""
    given = [name for name, _ in request.query_params.multi_items()]
    for name in set(given):
        if given.count(name) > 1:
            raise InvalidValue("give this parameter once", field=name[:40])
