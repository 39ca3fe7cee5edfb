"""How a request handler gets the parts of its process.

The dependencies are coroutines although they wait for nothing: FastAPI runs plain functions in a thread each.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request

from app.errors import Overloaded
from app.parts import Parts


@dataclass(slots=True)
class Admission:
    """Threads for uploads, and how many requests there are for them: sending their body, waiting, being served.

    More than `most` are refused before their body is read: each may hold as many bytes as a file may have.
    """

    limiter: anyio.CapacityLimiter
    most: int
    inside: int = 0


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _uploads(request: Request) -> AsyncIterator[anyio.CapacityLimiter]:
    admission: Admission = request.app.state.uploads
    if admission.inside >= admission.most:
        raise Overloaded(f"{admission.inside} uploads are under way; the limit is {admission.most}.")
    admission.inside += 1
    try:
        yield admission.limiter
    finally:
        admission.inside -= 1


async def _searches(request: Request) -> anyio.CapacityLimiter:
    limiter: anyio.CapacityLimiter = request.app.state.searches
    return limiter


WithParts = Annotated[Parts, Depends(_parts)]
Uploads = Annotated[anyio.CapacityLimiter, Depends(_uploads)]
Searches = Annotated[anyio.CapacityLimiter, Depends(_searches)]
