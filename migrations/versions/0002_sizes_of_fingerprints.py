"""Fingerprints have their size: what reads them in bulk counts on it."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        "ALTER TABLE image ADD CONSTRAINT image_fingerprint_sizes"
        " CHECK (octet_length(verifier) = 32 AND octet_length(turned) = 512)"
    )


def downgrade() -> None:
    op.execute("ALTER TABLE image DROP CONSTRAINT image_fingerprint_sizes")
