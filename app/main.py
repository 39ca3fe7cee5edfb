"""The ASGI application: wires the parts of one worker; nothing here is global."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

import anyio
from fastapi import FastAPI

from app.catalog.session import make_engine
from app.collection import Collection
from app.imaging.limits import DecodeLimits
from app.imaging.pool import DecodePool
from app.ingest import Intake
from app.jobs.keeper import Keeper
from app.matching.kinds import Rule
from app.settings import Settings
from app.storage import Pictures
from app.web import access, admin, claims, health, images, metrics, problems, similar
from app.web.parts import Parts
from app.web.schemas import Problem

DESCRIPTION = """\
Fingerprints every claim picture and says at once where it was used before.

Send a key as `Authorization: Bearer KEY`. Every answer of 400 and up is a problem as in RFC 9457.
"""
PROBLEMS: dict[int | str, dict[str, Any]] = {status: {"model": Problem} for status in (401, 403, 413, 503)}


def create_app(settings: Settings) -> FastAPI:
    """Make the application on the database that `settings.database_url` names; it connects when it starts."""
    return application(make_parts(settings))


def application(parts: Parts) -> FastAPI:
    """Make the application that works with these parts, and closes them at its end."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        keeper = make_keeper(parts)
        keeper.start()
        try:
            yield
        finally:
            await anyio.to_thread.run_sync(keeper.stop)
            close_parts(parts)

    app = FastAPI(
        title="Claimprint",
        version=version("claimprint"),
        description=DESCRIPTION,
        lifespan=lifespan,
        responses=PROBLEMS,
        redoc_url=None,
    )
    app.state.parts = parts
    for router in (claims.router, images.router, similar.router, admin.router, health.router):
        app.include_router(router)
    problems.install(app)
    # The last added runs first: requests that access refuses are measured too.
    app.add_middleware(access.Access, parts=parts)
    app.add_middleware(metrics.Measured)
    return app


def make_parts(settings: Settings, *, decoders: DecodePool | None = None) -> Parts:
    """Make the parts of one process; its decoding processes start at once, in the background, or are given."""
    engine = make_engine(settings, settings.database_url)
    collection = Collection(engine)
    pictures = Pictures(settings.data_dir / "pictures")
    intake = Intake(
        engine=engine,
        collection=collection,
        pictures=pictures,
        decoders=decoders
        or DecodePool(settings.decode_processes, decode_limits(settings), settings.max_queued_files),
        rule=Rule(near=settings.near_duplicate_distance, verifier=settings.verifier_distance),
        max_file_bytes=settings.max_file_bytes,
    )
    return Parts(
        settings=settings,
        engine=engine,
        collection=collection,
        pictures=pictures,
        intake=intake,
        uploads=anyio.CapacityLimiter(settings.max_queued_files),
    )


def make_keeper(parts: Parts) -> Keeper:
    """Make the background thread of a process that works with these parts."""
    return Keeper(
        parts.settings,
        parts.engine,
        parts.collection,
        parts.pictures,
        parts.intake.rule,
        decode_limits(parts.settings),
    )


def decode_limits(settings: Settings) -> DecodeLimits:
    """Return what decoding one file may cost, as the settings say."""
    return DecodeLimits(
        max_file_bytes=settings.max_file_bytes,
        max_pixels=settings.max_pixels,
        cpu_seconds=settings.decode_cpu_seconds,
        wall_seconds=settings.decode_wall_seconds,
        memory_bytes=settings.decode_memory_bytes,
        allow_avif=settings.allow_avif,
        allow_heic=settings.allow_heic,
        keep_gps=settings.keep_gps,
    )


def close_parts(parts: Parts) -> None:
    """End the threads, decoding processes and connections of a process."""
    parts.intake.close()
    parts.intake.decoders.close()
    parts.engine.dispose()
