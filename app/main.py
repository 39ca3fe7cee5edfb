"""The ASGI application of one worker process; nothing here is global."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI

from app.imaging import DecodePool
from app.jobs.keeper import Keeper
from app.parts import Parts, make_parts
from app.settings import Settings
from app.web import access, admin, claims, health, images, metrics, problems, similar
from app.web.schemas import Problem

DESCRIPTION = """\
Fingerprints every claim picture and says at once where it was used before.

Send a key as `Authorization: Bearer KEY`. Every answer of 400 and up is a problem as in RFC 9457.
"""
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (401, 403, 413, 503)}


def create_app(settings: Settings, decoders: DecodePool | None = None) -> FastAPI:
    """Make the application on the database that `settings.database_url` names; it connects when it starts."""
    return application(make_parts(settings, decoders=decoders))


def application(parts: Parts) -> FastAPI:
    """Make the application that works with these parts, and closes them at its end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        keeper = Keeper(parts)
        keeper.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(keeper.stop)
            await anyio.to_thread.run_sync(parts.close)

    app = FastAPI(
        title="Claimprint",
        version=version("claimprint"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=PROBLEMS,
        redoc_url=None,
    )
    app.state.parts = parts
    # Uploads wait in threads of their own number, so that searches keep theirs.
    app.state.uploads = anyio.CapacityLimiter(parts.settings.max_queued_files)
    for router in (claims.router, images.router, similar.router, admin.router, health.router):
        app.include_router(router)
    problems.install(app)
    # The last added runs first: requests that access refuses are measured too.
    app.add_middleware(access.Access, parts=parts)
    app.add_middleware(metrics.Measured)
    return app
