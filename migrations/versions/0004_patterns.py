"""The pattern fingerprint, of whole images and of their tiles. A job fills it in for rows from before."""

from alembic import op

revision = "0004"
down_revision = "0003"

# Tiles are read all at once, by the hundred thousand: they stay in the row, which one page has room for two of.
PATTERNS = """
ALTER TABLE image ADD COLUMN pattern bigint;
DROP INDEX image_to_fill;
CREATE INDEX image_to_fill ON image (created_seq) WHERE deleted_at IS NULL AND pattern IS NULL;
CREATE TABLE pattern_tiles (
    created_seq bigint PRIMARY KEY REFERENCES image (created_seq),
    words bytea NOT NULL,
    tiles bytea NOT NULL,
    flat bytea NOT NULL,
    blocks bytea NOT NULL,
    CONSTRAINT pattern_tiles_sizes CHECK (
        octet_length(words) = 32 AND octet_length(tiles) % 32 = 0
        AND octet_length(flat) = (octet_length(tiles) / 32 + 7) / 8 AND octet_length(blocks) = 4
    )
);
ALTER TABLE pattern_tiles ALTER COLUMN tiles SET STORAGE PLAIN;
"""

_BEFORE = (
    "ahash, phash, dhash, whash, verifier, turned, pixel_sha256, status, deleted_at, whash_db4, colorhash,"
    " colour_code, page"
)
_AFTER = f"{_BEFORE}, pattern"


def _triggers(columns: str) -> str:
    """A change of any of these columns is stamped."""
    return f"""
DROP TRIGGER image_lock ON image;
DROP TRIGGER image_stamp ON image;
CREATE TRIGGER image_lock BEFORE INSERT OR UPDATE OF {columns}
    ON image FOR EACH STATEMENT EXECUTE FUNCTION take_stamp_lock();
CREATE TRIGGER image_stamp BEFORE INSERT OR UPDATE OF {columns}
    ON image FOR EACH ROW EXECUTE FUNCTION stamp_image();
"""


def upgrade() -> None:
    for script in (PATTERNS, _triggers(_AFTER)):
        op.execute(script)


def downgrade() -> None:
    op.execute(_triggers(_BEFORE))
    op.execute(
        "DROP TABLE pattern_tiles;"
        " DROP INDEX image_to_fill;"
        " CREATE INDEX image_to_fill ON image (created_seq) WHERE deleted_at IS NULL AND whash_db4 IS NULL;"
        " ALTER TABLE image DROP COLUMN pattern"
    )
