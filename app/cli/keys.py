"""`claimprint keys`: API keys."""

import click

from app.cli.opened import ACTOR, open_engine, read_settings


@click.group("keys")
def keys_group() -> None:
    """Make, list and revoke API keys."""


@keys_group.command("create")
@click.option("--client", required=True, help="Who will use the key; keys of one client see the same images.")
@click.option("--role", required=True, type=click.Choice(["portal", "qc", "admin"]))
def create_key(client: str, role: str) -> None:
    """Make a key and print it, alone, on the last line of stdout. It is not stored and not shown again."""
    from app.catalog import events, keys

    with open_engine(read_settings(), make=True) as engine, engine.begin() as connection:
        key = keys.create_key(connection, client_name=client, role=role)
        prefix = key[: keys.PREFIX_CHARACTERS]
        events.log_event(
            connection,
            actor=ACTOR,
            action="key.create",
            subject=prefix,
            detail={"client": client, "role": role},
        )
    click.echo(key)


@keys_group.command("list")
def list_keys() -> None:
    """List keys by prefix."""
    from app.catalog import keys

    with open_engine(read_settings()) as engine, engine.connect() as connection:
        for row in keys.list_keys(connection):
            state = f"revoked {row.revoked_at:%Y-%m-%d %H:%M}Z" if row.revoked_at else "active"
            click.echo(f"{row.prefix}  {row.role:6}  {row.created_at:%Y-%m-%d %H:%M}Z  {state}  {row.client}")


@keys_group.command("revoke")
@click.argument("prefix")
def revoke_key(prefix: str) -> None:
    """Make the key with this PREFIX worthless at once."""
    from app.catalog import events, keys

    with open_engine(read_settings()) as engine, engine.begin() as connection:
        keys.revoke_key(connection, prefix)
        events.log_event(connection, actor=ACTOR, action="key.revoke", subject=prefix)
    click.echo(f"revoked {prefix}")
