"""Answers that are pictures: private, and what they say they are."""

from typing import Any

from starlette.responses import Response

PRIVATE = {"X-Content-Type-Options": "nosniff", "Cache-Control": "private, no-store"}
PNG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/png": {}}, "description": "The picture."}}


def png(drawn: bytes) -> Response:
    """A drawn picture."""
    return Response(drawn, media_type="image/png", headers=PRIVATE)
