"""The event log: who did what to which subject, when. Append-only, by trigger."""

from typing import Any

from sqlalchemy import Connection, insert

from app.catalog.models import event


def log_event(
    connection: Connection, *, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Append one event; `actor` is a client and key prefix, or the command line."""
    connection.execute(insert(event).values(actor=actor, action=action, subject=subject, detail=detail or {}))
