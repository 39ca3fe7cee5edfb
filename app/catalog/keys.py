"""API keys: random, shown once, stored as SHA-256, found by that, listed by prefix, revocable."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from app.catalog.models import access_key, client
from app.catalog.rows import AnyRow
from app.errors import InvalidValue, NotFound

ROLES = ("portal", "qc", "admin")
# 256 random bits: a plain SHA-256 of it can't be guessed back, no slow hash is needed.
SECRET_BYTES = 32
PREFIX_CHARACTERS = 11


_CALLER = (
    select(client.c.id, client.c.name, access_key.c.role, access_key.c.prefix)
    .join(client, client.c.id == access_key.c.client_id)
    .where(access_key.c.key_sha256 == bindparam("key_sha256"), access_key.c.revoked_at.is_(None))
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who is calling: the key's client and role."""

    client_id: int
    client: str
    role: str
    prefix: str

    @property
    def actor(self) -> str:
        """Name for the event log."""
        return f"{self.client}/{self.prefix}"


def create_key(connection: Connection, *, client_name: str, role: str) -> str:
    """Make a key for a client, which is made too if it is new; return the key, which is stored nowhere."""
    if role not in ROLES:
        raise InvalidValue(f"role must be one of {', '.join(ROLES)}", field="role")
    if not client_name.strip() or len(client_name) > 100 or not client_name.isprintable():
        raise InvalidValue("client must have 1 to 100 printable characters", field="client", limit=100)
    connection.execute(insert(client).values(name=client_name).on_conflict_do_nothing())
    client_id = connection.execute(select(client.c.id).where(client.c.name == client_name)).scalar_one()
    key = "cp_" + secrets.token_urlsafe(SECRET_BYTES)
    connection.execute(
        insert(access_key).values(
            client_id=client_id, role=role, prefix=key[:PREFIX_CHARACTERS], key_sha256=_digest(key)
        )
    )
    return key


def find_caller(connection: Connection, key: str) -> Caller | None:
    """The client and role of a key that is neither unknown nor revoked."""
    row = connection.execute(_CALLER, {"key_sha256": _digest(key)}).one_or_none()
    return None if row is None else Caller(row.id, row.name, row.role, row.prefix)


def list_keys(connection: Connection) -> Sequence[AnyRow]:
    """All keys, oldest first, without anything that would let one use them."""
    return connection.execute(
        select(
            access_key.c.prefix,
            client.c.name.label("client"),
            access_key.c.role,
            access_key.c.created_at,
            access_key.c.revoked_at,
        )
        .join(client, client.c.id == access_key.c.client_id)
        .order_by(access_key.c.id)
    ).all()


def revoke_key(connection: Connection, prefix: str) -> None:
    """Make a key worthless from the next request on. Raises NotFound."""
    changed = connection.execute(
        update(access_key)
        .where(access_key.c.prefix == prefix, access_key.c.revoked_at.is_(None))
        .values(revoked_at=func.clock_timestamp())
    ).rowcount
    if not changed:
        raise NotFound(f"no active key has the prefix {prefix!r}", field="prefix")


def any_admin(connection: Connection) -> bool:
    """Whether an active admin key exists."""
    return bool(
        connection.execute(
            text("SELECT EXISTS (SELECT FROM access_key WHERE role = 'admin' AND revoked_at IS NULL)")
        ).scalar()
    )


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
