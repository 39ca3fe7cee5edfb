"""What Prometheus reads: requests, uploads, the index. No claim or image id is ever a label."""

import os
import time

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.ingest import Outcome
from app.web.problems import slug_of

# With several workers each writes its numbers to files in this folder, and any of them can show the sum.
SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)

requests_total = Counter("claimprint_requests_total", "Requests answered", ["method", "route", "status"])
request_seconds = Histogram(
    "claimprint_request_seconds", "Seconds from request to answer", ["method", "route"], buckets=BUCKETS
)
images_total = Counter("claimprint_images_total", "Images answered", ["verdict", "created"])
rejected_total = Counter("claimprint_rejected_files_total", "Files not taken", ["reason"])
index_images = Gauge("claimprint_index_images", "Images in the index", multiprocess_mode="livemax")


class Measured:
    """ASGI middleware that counts and times requests by route template."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on, and note status and time."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        started = time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            # A path that no route took would make a label of whatever a client types.
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            requests_total.labels(method, route, status).inc()
            request_seconds.labels(method, route).observe(time.perf_counter() - started)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def count_upload(outcome: Outcome) -> None:
    """Count what became of the files of an upload."""
    for answer in outcome.answers:
        images_total.labels(answer.verdict, str(answer.created).lower()).inc()
    for rejection in outcome.rejections:
        rejected_total.labels(slug_of(type(rejection.error))).inc()


def exposition() -> tuple[bytes, str]:
    """Return the metrics in Prometheus' text format, and its media type."""
    registry: CollectorRegistry = REGISTRY
    if os.environ.get(SHARED_FOLDER):
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry), CONTENT_TYPE_LATEST
