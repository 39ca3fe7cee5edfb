"""Templates by keypoints, whose code is as long as there are keypoints."""

from alembic import op

revision = "0008"
down_revision = "0007"

_SIZE = "octet_length(code) = CASE fingerprint WHEN 'colorhash' THEN 16 ELSE 64 END"
_SIZES = (
    "CASE fingerprint WHEN 'keypoints' THEN octet_length(code) > 0 AND octet_length(code) % 48 = 0"
    " WHEN 'colorhash' THEN octet_length(code) = 16 ELSE octet_length(code) = 64 END"
)
# Before, there is no such template: what there is becomes a tombstone.
_BURY = """
DELETE FROM template_match m USING template t WHERE t.id = m.template_id AND t.fingerprint = 'keypoints';
UPDATE template SET deleted_at = clock_timestamp(), name = NULL, enabled = NULL, fingerprint = NULL,
    max_distance = NULL, code = NULL, width = NULL, height = NULL, region = NULL, scanned_seq = NULL,
    scanned_images = NULL, scanned_of = NULL, middle = NULL, spread = NULL
    WHERE fingerprint = 'keypoints';
"""


def _check(condition: str) -> str:
    return (
        "ALTER TABLE template DROP CONSTRAINT template_code_size,"
        f" ADD CONSTRAINT template_code_size CHECK ({condition})"
    )


def upgrade() -> None:
    op.execute(_check(_SIZES))


def downgrade() -> None:
    op.execute(_BURY)
    op.execute(_check(_SIZE))
