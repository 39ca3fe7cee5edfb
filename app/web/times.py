"""Times as they are written in JSON."""

import datetime as dt
from typing import Annotated

from pydantic import PlainSerializer

Time = Annotated[
    dt.datetime,
    PlainSerializer(lambda t: t.astimezone(dt.UTC).isoformat().replace("+00:00", "Z"), return_type=str),
]
