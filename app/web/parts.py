"""What a request handler works with: the parts of one worker process, wired by `main.create_app`."""

from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request
from sqlalchemy import Engine

from app.collection import Collection
from app.ingest import Intake
from app.settings import Settings
from app.storage import Pictures


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of one worker. `uploads` bounds the threads that uploads take, so that searches keep theirs."""

    settings: Settings
    engine: Engine
    collection: Collection
    pictures: Pictures
    intake: Intake
    uploads: anyio.CapacityLimiter


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


WithParts = Annotated[Parts, Depends(_parts)]
