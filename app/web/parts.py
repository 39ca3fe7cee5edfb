"""How a request handler gets the parts of its process.

The dependencies are coroutines although they wait for nothing: FastAPI runs plain functions in a thread each.
"""

from typing import Annotated

import anyio
from fastapi import Depends, Request

from app.parts import Parts


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _uploads(request: Request) -> anyio.CapacityLimiter:
    limiter: anyio.CapacityLimiter = request.app.state.uploads
    return limiter


async def _searches(request: Request) -> anyio.CapacityLimiter:
    limiter: anyio.CapacityLimiter = request.app.state.searches
    return limiter


WithParts = Annotated[Parts, Depends(_parts)]
Uploads = Annotated[anyio.CapacityLimiter, Depends(_uploads)]
Searches = Annotated[anyio.CapacityLimiter, Depends(_searches)]
