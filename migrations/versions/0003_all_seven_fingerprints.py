"""Daubechies hash, colours, segments, pages. Rows from before have none of it until a job fills it in."""

from alembic import op

revision = "0003"
down_revision = "0002"

COLUMNS = """
ALTER TABLE image
    ADD COLUMN whash_db4 bigint,
    ADD COLUMN colorhash bigint,
    ADD COLUMN colour_code bytea,
    ADD COLUMN page boolean,
    DROP CONSTRAINT image_fingerprint_sizes,
    ADD CONSTRAINT image_fingerprint_sizes CHECK (
        octet_length(verifier) = 32 AND octet_length(colour_code) = 16
        AND octet_length(turned) = CASE WHEN whash_db4 IS NULL THEN 512 ELSE 576 END
    ),
    ADD CONSTRAINT image_later_hashes_together CHECK (num_nulls(whash_db4, colorhash, colour_code, page) IN (0, 4));
CREATE INDEX image_to_fill ON image (created_seq) WHERE deleted_at IS NULL AND whash_db4 IS NULL;
"""

SEGMENTS = """
CREATE TABLE segment (
    created_seq bigint NOT NULL REFERENCES image (created_seq),
    ordinal smallint NOT NULL,
    hash bigint NOT NULL,
    turned bytea NOT NULL CONSTRAINT segment_turned_size CHECK (octet_length(turned) = 64),
    x smallint NOT NULL,
    y smallint NOT NULL,
    width smallint NOT NULL,
    height smallint NOT NULL,
    PRIMARY KEY (created_seq, ordinal)
);
"""

_BEFORE = "ahash, phash, dhash, whash, verifier, turned, pixel_sha256, status, deleted_at"
_AFTER = f"{_BEFORE}, whash_db4, colorhash, colour_code, page"


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
    for script in (COLUMNS, SEGMENTS, _triggers(_AFTER)):
        op.execute(script)


def downgrade() -> None:
    op.execute(_triggers(_BEFORE))
    op.execute(
        "DROP TABLE segment;"
        # What was filled in or stored since keeps its first 512 bytes, which mean what they always did.
        " ALTER TABLE image DROP CONSTRAINT image_fingerprint_sizes, DROP CONSTRAINT image_later_hashes_together;"
        " UPDATE image SET turned = substring(turned, 1, 512) WHERE octet_length(turned) = 576;"
        " ALTER TABLE image DROP COLUMN whash_db4, DROP COLUMN colorhash, DROP COLUMN colour_code,"
        " DROP COLUMN page,"
        " ADD CONSTRAINT image_fingerprint_sizes CHECK (octet_length(verifier) = 32 AND octet_length(turned) = 512)"
    )
