"""Keypoints by directions that mirrored and negative pictures only turn round. A job finds all of them anew.

What there is was made by other directions, and is compared with nothing any more.
"""

from alembic import op

revision = "0009"
down_revision = "0008"

_NO_KEYPOINTS = """
DELETE FROM image_keypoints;
UPDATE image SET keypoint_count = NULL WHERE keypoint_count IS NOT NULL;
"""
_TO_BE_MADE = """
DELETE FROM template_match m USING template t WHERE t.id = m.template_id AND t.fingerprint = 'keypoints';
UPDATE template SET code = NULL, scanned_seq = NULL WHERE deleted_at IS NULL AND fingerprint = 'keypoints';
"""
# Before, no template waits for its code: what there is becomes a tombstone.
_BURY = """
DELETE FROM template_match m USING template t WHERE t.id = m.template_id AND t.fingerprint = 'keypoints';
UPDATE template SET deleted_at = clock_timestamp(), name = NULL, enabled = NULL, fingerprint = NULL,
    max_distance = NULL, code = NULL, width = NULL, height = NULL, region = NULL, scanned_seq = NULL,
    scanned_images = NULL, scanned_of = NULL, middle = NULL, spread = NULL
    WHERE fingerprint = 'keypoints';
"""


def _checks(whole: str, keypoint_bytes: int) -> str:
    return f"""
ALTER TABLE template DROP CONSTRAINT template_code_size, DROP CONSTRAINT template_live_is_whole;
ALTER TABLE template
    ADD CONSTRAINT template_code_size CHECK (
        CASE fingerprint WHEN 'keypoints' THEN octet_length(code) > 0 AND octet_length(code) % {keypoint_bytes} = 0
        WHEN 'colorhash' THEN octet_length(code) = 16 ELSE octet_length(code) = 64 END
    ) NOT VALID,
    ADD CONSTRAINT template_live_is_whole CHECK (
        deleted_at IS NOT NULL OR (name IS NOT NULL AND enabled IS NOT NULL AND fingerprint IS NOT NULL
            AND max_distance IS NOT NULL AND {whole} AND width IS NOT NULL AND height IS NOT NULL)
    );
"""


def upgrade() -> None:
    op.execute(_NO_KEYPOINTS)
    op.execute(_checks("(code IS NOT NULL OR fingerprint = 'keypoints')", 25))
    op.execute(_TO_BE_MADE)
    op.execute("ALTER TABLE template VALIDATE CONSTRAINT template_code_size")


def downgrade() -> None:
    op.execute(_NO_KEYPOINTS)
    op.execute(_BURY)
    op.execute(_checks("code IS NOT NULL", 48))
    op.execute("ALTER TABLE template VALIDATE CONSTRAINT template_code_size")
