"""Errors as RFC 9457 problem+json: one table from class to status, one shape for every answer of 400 and up."""

import http
import json
import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from app import errors
from app.catalog import session

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

# The first class that fits decides, so the leaves of the tree stand before their parents.
STATUSES: dict[type[errors.ClaimprintError], int] = {
    errors.InvalidCursor: 400,
    errors.InvalidValue: 422,
    errors.NotAuthenticated: 401,
    errors.NotAllowed: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.RequestTooLarge: 413,
    errors.RequestTooSlow: 408,
    errors.UnsupportedFormat: 415,
    errors.PictureTooLarge: 413,
    errors.BrokenPicture: 422,
    errors.DecoderKilled: 422,
    errors.UnusablePicture: 422,
    errors.StorageFull: 507,
    errors.Unavailable: 503,
}


def status_of(error: errors.ClaimprintError) -> int:
    """HTTP status of a domain error."""
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def problem(error: errors.ClaimprintError) -> dict[str, Any]:
    """Members of the problem object of a domain error."""
    return problem_object(
        status_of(error), error.message, slug=slug_of(type(error)), field=error.field, limit=error.limit
    )


def problem_object(
    status: int, detail: str, *, slug: str | None = None, field: str | None = None, limit: Any = None
) -> dict[str, Any]:
    """Members of a problem object; `type` is a stable relative reference that programs may switch on."""
    members = {
        "type": f"/problems/{slug}" if slug else "about:blank",
        "title": http.HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
    }
    if field is not None:
        members["field"] = field
    if limit is not None:
        members["limit"] = limit
    return members


def slug_of(kind: type[errors.ClaimprintError]) -> str:
    """`PictureTooLarge` -> `picture-too-large`."""
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__).lstrip(
        "-"
    )


def problem_response(
    members: dict[str, Any], headers: dict[str, str] | None = None, **extra: Any
) -> Response:
    """Response of a problem object, with further members where given."""
    body = json.dumps(members | extra, ensure_ascii=False).encode("utf-8", "replace")
    return Response(body, members["status"], headers=headers, media_type=MEDIA_TYPE)


def response_for(error: errors.ClaimprintError) -> Response:
    """Response of a domain error, with the headers that its status calls for."""
    headers = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, errors.RequestTooSlow):
        # The rest of the body is not waited for either.
        headers["Connection"] = "close"
    return problem_response(problem(error), headers)


def install(app: FastAPI) -> None:
    """Register the handlers that turn every exception into a problem."""
    app.add_exception_handler(errors.ClaimprintError, _domain)
    app.add_exception_handler(SQLAlchemyError, _database)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, _disconnect)
    app.add_exception_handler(Exception, _bug)


async def _domain(_request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ClaimprintError)  # noqa: S101
    return response_for(error)


async def _database(request: Request, error: Exception) -> Response:
    translated = session.translated(error)
    if isinstance(translated, errors.ClaimprintError):
        log.warning("%s %s: %s", request.method, request.url.path, error)
        return response_for(translated)
    return await _bug(request, error)


async def _validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    found = [
        {
            "field": ".".join(str(part) for part in item["loc"][1:]) or str(item["loc"][0]),
            "message": item["msg"],
        }
        for item in error.errors()
    ]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in found)
    bounds = error.errors()[0].get("ctx", {})
    limit = next((bounds[name] for name in ("le", "ge", "lt", "gt") if name in bounds), None)
    members = problem_object(422, detail, slug="invalid-value", field=found[0]["field"], limit=limit)
    return problem_response(members, errors=found)


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    return problem_response(problem_object(error.status_code, error.detail), dict(error.headers or {}))


async def _disconnect(_request: Request, _error: Exception) -> Response:
    # Nobody is there to read it; it keeps a client that left from being logged as a fault of ours.
    return problem_response(problem_object(400, "the client went away before the request was complete"))


async def _bug(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem_response(problem_object(500, "the service failed; the failure is in its log"))
