"""Who may call what: the key is checked before a byte of the body is read."""

from math import inf
from typing import Annotated

import anyio
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer, SecurityScopes
from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.catalog import keys, session
from app.catalog.keys import Caller
from app.catalog.rows import AnyRow
from app.errors import (
    ClaimprintError,
    DatabaseAway,
    NotAllowed,
    NotAuthenticated,
    RequestTooLarge,
    RequestTooSlow,
)
from app.parts import Parts
from app.web.problems import response_for

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/docs/oauth2-redirect"})
# The promise is a 503 within 3 s; a database that hangs without refusing is given up before that.
LONGEST_CHECK_SECONDS = 2.5
# Checks under way at once; they are short, and a hanging database must not take the other threads with it.
CHECKS_AT_ONCE = 32
MAX_KEY_CHARACTERS = 200
# What the OpenAPI document says of keys and roles; the checking is done by Access and _require.
_KEY_IN_DOCUMENT = HTTPBearer(
    scheme_name="key", description="An API key; an operation lists the roles that it takes.", auto_error=False
)
# Digits of a Content-Length; more is more bytes than any limit.
LONGEST_LENGTH = 18


class Access:
    """ASGI middleware: no valid key, no body read; and no body past its limit of bytes or time."""

    def __init__(self, app: ASGIApp, parts: Parts):
        self.app = app
        self.parts = parts
        self._limiter = anyio.CapacityLimiter(CHECKS_AT_ONCE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, 413 or 503 at once, else pass on with `scope["state"]["caller"]` set."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_length(headers)
            caller = await self._caller(headers)
        except ClaimprintError as error:
            await response_for(error)(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self.app(scope, self._limited(receive), send)

    async def _caller(self, headers: Headers) -> Caller:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not 0 < len(key) <= MAX_KEY_CHARACTERS:
            raise NotAuthenticated("send a key: `Authorization: Bearer KEY`")
        try:
            with anyio.fail_after(LONGEST_CHECK_SECONDS):
                caller = await anyio.to_thread.run_sync(
                    self._find_caller, key.strip(), abandon_on_cancel=True, limiter=self._limiter
                )
        except TimeoutError as error:
            raise DatabaseAway("the database did not answer in time") from error
        except SQLAlchemyError as error:
            raise session.translated(error) from error
        if caller is None:
            raise NotAuthenticated("this key is unknown or revoked")
        return caller

    def _find_caller(self, key: str) -> Caller | None:
        with session.autocommit(self.parts.engine) as connection:
            return keys.find_caller(connection, key)

    def _check_length(self, headers: Headers) -> None:
        # Leading zeros get past the HTTP server, and Python converts no number of thousands of digits.
        digits = headers.get("content-length", "").lstrip("0")
        limit = self.parts.settings.max_request_bytes
        if digits.isascii() and digits.isdigit() and (len(digits) > LONGEST_LENGTH or int(digits) > limit):
            raise self._too_large()

    def _limited(self, receive: Receive) -> Receive:
        """Count the body while it streams, as chunked requests name no length, and look at the clock."""
        received, whole, deadline = 0, False, inf

        async def limited() -> Message:
            nonlocal received, whole, deadline
            if whole:  # what is waited for now is that the client leaves
                return await receive()
            deadline = min(deadline, anyio.current_time() + self.parts.settings.body_seconds)
            # What has arrived is taken even then: it is for waiting alone that there is no time.
            with anyio.CancelScope(deadline=deadline) as waiting:
                message = await receive()
            if waiting.cancelled_caught:
                raise self._too_slow()
            whole = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self.parts.settings.max_request_bytes:
                raise self._too_large()
            return message

        return limited

    def _too_large(self) -> RequestTooLarge:
        limit = self.parts.settings.max_request_bytes
        return RequestTooLarge(f"the request's body is over the limit of {limit} bytes", limit=limit)

    def _too_slow(self) -> RequestTooSlow:
        limit = self.parts.settings.body_seconds
        return RequestTooSlow(f"the request's body did not arrive within {limit:g} seconds", limit=limit)


async def _require(
    request: Request, roles: SecurityScopes, _key: Annotated[object, Depends(_KEY_IN_DOCUMENT)]
) -> Caller:
    """The caller, whose key must have one of these roles; a coroutine, as a function would cost a thread."""
    caller: Caller = request.state.caller
    if caller.role not in roles.scopes:
        raise NotAllowed(f"a key of role {caller.role} may not do this; it takes {' or '.join(roles.scopes)}")
    return caller


Portal = Annotated[Caller, Security(_require, scopes=["portal", "admin"])]
Reader = Annotated[Caller, Security(_require, scopes=["portal", "qc", "admin"])]
QualityControl = Annotated[Caller, Security(_require, scopes=["qc", "admin"])]
Admin = Annotated[Caller, Security(_require, scopes=["admin"])]


def own_client(caller: Caller) -> int | None:
    """The client whose images alone the caller may read; None for all."""
    return caller.client_id if caller.role == "portal" else None


def check_own(caller: Caller, row: AnyRow) -> None:
    """Raise NotAllowed when a portal key reaches for another client's image."""
    if own_client(caller) not in (None, row.uploaded_by):
        raise NotAllowed("this image was uploaded by another client")
