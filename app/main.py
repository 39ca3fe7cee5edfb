"""The ASGI application of one worker process; nothing here is global."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from fastapi import Depends, FastAPI

from app.imaging import DecodePool
from app.jobs.keeper import Keeper
from app.parts import Parts, make_parts
from app.settings import Settings
from app.web import (
    access,
    admin,
    claims,
    clusters,
    health,
    images,
    matches,
    metrics,
    problems,
    reports,
    similar,
    templates,
)
from app.web.parts import Admission
from app.web.query import each_parameter_once
from app.web.schemas import problem_responses

DESCRIPTION = """\
Fingerprints every claim picture and says at once where it was used before.

Send a key as `Authorization: Bearer KEY`. Every answer of 400 and up is a problem as in RFC 9457.
"""
SEARCHES_AT_ONCE = 4
UPLOADS_FOR_A_PLACE = 4  # in the queue: most of their time they send their bodies
OF_KEYS = problem_responses(401, 403, 413)


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
        dependencies=[Depends(each_parameter_once)],
        responses=problem_responses(422, 503),
        redoc_url=None,
    )
    app.state.parts = parts
    # Uploads wait in threads of their own number, so that searches keep theirs.
    queued = parts.settings.max_queued_files
    app.state.uploads = Admission(
        anyio.CapacityLimiter(queued),
        most=UPLOADS_FOR_A_PLACE * queued,
        most_bytes=queued * parts.settings.max_file_bytes,
    )
    # A wide search takes memory and a core: a few at once are as fast as many, and leave room for the rest.
    app.state.searches = anyio.CapacityLimiter(SEARCHES_AT_ONCE)
    for router in (
        claims.router,
        images.router,
        matches.router,
        similar.router,
        clusters.router,
        templates.router,
        reports.router,
        admin.router,
    ):
        app.include_router(router, responses=OF_KEYS)
    app.include_router(health.router)
    problems.install(app)
    # The last added runs first: requests that access refuses are measured too.
    app.add_middleware(access.Access, parts=parts)
    app.add_middleware(metrics.Measured)
    return app
