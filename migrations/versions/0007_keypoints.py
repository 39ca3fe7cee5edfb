"""Keypoints of images, by which parts of them are found again. A job fills them in for rows from before."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Hashes and places apart: the first are read all at once, the second of few images. Both stay in the row, of which
# a page has four.
KEYPOINTS = """
ALTER TABLE image ADD COLUMN keypoint_count smallint;
DROP INDEX image_to_fill;
CREATE INDEX image_to_fill ON image (created_seq) WHERE deleted_at IS NULL AND keypoint_count IS NULL;
CREATE TABLE image_keypoints (
    created_seq bigint PRIMARY KEY REFERENCES image (created_seq),
    codes bytea NOT NULL,
    places bytea NOT NULL,
    CONSTRAINT image_keypoints_sizes CHECK (
        octet_length(codes) % 8 = 0 AND octet_length(codes) <= 1280
        AND octet_length(places) = octet_length(codes) / 2
    )
);
ALTER TABLE image_keypoints ALTER COLUMN codes SET STORAGE PLAIN, ALTER COLUMN places SET STORAGE PLAIN;
"""

_BEFORE = (
    "ahash, phash, dhash, whash, verifier, turned, pixel_sha256, status, deleted_at, whash_db4, colorhash,"
    " colour_code, page, pattern"
)
_AFTER = f"{_BEFORE}, keypoint_count"


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
    for script in (KEYPOINTS, _triggers(_AFTER)):
        op.execute(script)


def downgrade() -> None:
    op.execute(_triggers(_BEFORE))
    op.execute(
        "DELETE FROM match WHERE kind IN ('edited_copy', 'same_scene');"
        " DROP TABLE image_keypoints;"
        " DROP INDEX image_to_fill;"
        " CREATE INDEX image_to_fill ON image (created_seq) WHERE deleted_at IS NULL AND pattern IS NULL;"
        " ALTER TABLE image DROP COLUMN keypoint_count"
    )
