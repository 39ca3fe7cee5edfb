"""How a request handler gets the parts of its process.

The dependencies are coroutines although they wait for nothing: FastAPI runs plain functions in a thread each.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import anyio
from fastapi import Depends, Request
from starlette.datastructures import Headers

from app.errors import Overloaded
from app.parts import Parts


@dataclass(slots=True)
class Admission:
    """Threads for uploads, and how many requests there are for them: sending their body, waiting, being served.

    Each holds its body until it is answered. More than `most` requests, or `most_bytes` of bodies together, are
    refused before they are read; one is always let in, however large it may be.
    """

    limiter: anyio.CapacityLimiter
    most: int
    most_bytes: int
    inside: int = 0
    bytes_inside: int = 0

    @contextmanager
    def admitted(self, size: int) -> Iterator[None]:
        """Let a request with a body of so many bytes in. Raises Overloaded."""
        if self.inside >= self.most:
            raise Overloaded(f"{self.inside} uploads are under way; the limit is {self.most}.")
        if self.inside and self.bytes_inside + size > self.most_bytes:
            raise Overloaded(
                f"uploads of {self.bytes_inside} bytes are under way; with {size} more it is over the limit of"
                f" {self.most_bytes}."
            )
        self.inside += 1
        self.bytes_inside += size
        try:
            yield
        finally:
            self.inside -= 1
            self.bytes_inside -= size


async def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


async def _uploads(request: Request) -> AsyncIterator[anyio.CapacityLimiter]:
    admission: Admission = request.app.state.uploads
    parts: Parts = request.app.state.parts
    with admission.admitted(_body_bytes(request.headers, parts.settings.max_request_bytes)):
        yield admission.limiter


def _body_bytes(headers: Headers, most: int) -> int:
    """How long a body will be, as `access` has let it through: at most `most`, and that where no length is told."""
    digits = headers.get("content-length", "")
    if "transfer-encoding" in headers or not (digits.isascii() and digits.isdigit()):
        return most
    # Leading zeros get past the HTTP server, and Python converts no number of thousands of digits.
    return int(digits.lstrip("0") or "0")


async def _searches(request: Request) -> anyio.CapacityLimiter:
    limiter: anyio.CapacityLimiter = request.app.state.searches
    return limiter


WithParts = Annotated[Parts, Depends(_parts)]
Uploads = Annotated[anyio.CapacityLimiter, Depends(_uploads)]
Searches = Annotated[anyio.CapacityLimiter, Depends(_searches)]
