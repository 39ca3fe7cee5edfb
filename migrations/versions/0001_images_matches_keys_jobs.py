"""Images with their two stamps, matches, keys, events, jobs, workers."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# 'claim' in ASCII; the one advisory lock under which stamps are drawn and committed in order.
STAMP_LOCK = 0x636C61696D

TABLES = """
CREATE TABLE client (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp()
);

CREATE TABLE access_key (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    client_id bigint NOT NULL REFERENCES client (id),
    role text NOT NULL CONSTRAINT access_key_role CHECK (role IN ('portal', 'qc', 'admin')),
    prefix text NOT NULL UNIQUE,
    key_sha256 bytea NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);

CREATE TABLE image (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id uuid NOT NULL UNIQUE,
    created_seq bigint NOT NULL UNIQUE,
    change_seq bigint NOT NULL UNIQUE,
    uploaded_at timestamptz,
    deleted_at timestamptz,
    screened_at timestamptz,
    claim_id text,
    uploaded_by bigint REFERENCES client (id),
    file_name text,
    sha256 bytea,
    pixel_sha256 bytea,
    format text,
    width integer,
    height integer,
    byte_count bigint,
    status text CONSTRAINT image_status CHECK (status IN ('fingerprinted', 'low_information')),
    ahash bigint,
    phash bigint,
    dhash bigint,
    whash bigint,
    verifier bytea,
    turned bytea,
    fingerprint_version integer,
    library_versions jsonb,
    labels jsonb,
    source jsonb,
    exif jsonb,
    taken_at timestamptz,
    camera_make text,
    camera_model text,
    camera_software text,
    CONSTRAINT image_live_is_whole CHECK (
        deleted_at IS NOT NULL OR (
            claim_id IS NOT NULL AND sha256 IS NOT NULL AND uploaded_at IS NOT NULL AND file_name IS NOT NULL
            AND format IS NOT NULL AND width IS NOT NULL AND height IS NOT NULL AND byte_count IS NOT NULL
            AND status IS NOT NULL AND ahash IS NOT NULL AND phash IS NOT NULL AND dhash IS NOT NULL
            AND whash IS NOT NULL AND verifier IS NOT NULL AND turned IS NOT NULL
            AND fingerprint_version IS NOT NULL AND labels IS NOT NULL
        )
    )
);
CREATE UNIQUE INDEX image_claim_sha256 ON image (claim_id, sha256) WHERE deleted_at IS NULL;
CREATE INDEX image_sha256 ON image (sha256) WHERE deleted_at IS NULL;
CREATE INDEX image_pixel_sha256 ON image (pixel_sha256) WHERE deleted_at IS NULL AND status = 'fingerprinted';
CREATE INDEX image_unscreened ON image (created_seq) WHERE deleted_at IS NULL AND screened_at IS NULL;
-- Hashes do not compress: spare the attempt.
ALTER TABLE image ALTER COLUMN turned SET STORAGE EXTERNAL;

CREATE TABLE match (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    match_id uuid NOT NULL UNIQUE,
    earlier_id bigint NOT NULL REFERENCES image (id),
    later_id bigint NOT NULL REFERENCES image (id),
    kind text NOT NULL,
    rank smallint NOT NULL,
    nearest integer NOT NULL,
    distances jsonb NOT NULL,
    transform text NOT NULL,
    evidence jsonb NOT NULL DEFAULT '{}'::jsonb,
    rule_version integer NOT NULL,
    found_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT match_pair UNIQUE (earlier_id, later_id),
    CONSTRAINT match_of_two CHECK (earlier_id <> later_id)
);
CREATE INDEX match_later ON match (later_id);

CREATE TABLE event (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor text NOT NULL,
    action text NOT NULL,
    subject text NOT NULL,
    detail jsonb NOT NULL DEFAULT '{}'::jsonb
);

CREATE TABLE job (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    job_id uuid NOT NULL UNIQUE,
    kind text NOT NULL,
    params jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued'
        CONSTRAINT job_state CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    progress jsonb NOT NULL DEFAULT '{}'::jsonb,
    result jsonb,
    error text,
    requested_by text NOT NULL,
    runner uuid,
    cancel_requested integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    started_at timestamptz,
    heartbeat_at timestamptz,
    finished_at timestamptz
);
CREATE UNIQUE INDEX job_one_active ON job (kind) WHERE state IN ('queued', 'running');

CREATE TABLE worker (
    worker_id uuid PRIMARY KEY,
    host text NOT NULL,
    pid integer NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    heartbeat_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    generation bigint NOT NULL,
    index_seq bigint NOT NULL,
    rebuild jsonb
);

CREATE TABLE index_meta (
    single smallint PRIMARY KEY DEFAULT 1 CONSTRAINT index_meta_one_row CHECK (single = 1),
    generation bigint NOT NULL,
    collection_id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO index_meta (generation) VALUES (1);
"""

# Why the lock is taken by a statement trigger and the numbers drawn by a row trigger: docs/decisions/0002.
STAMPS = f"""
CREATE SEQUENCE stamp CACHE 1;

CREATE FUNCTION take_stamp_lock() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock({STAMP_LOCK});
    RETURN NULL;
END $$;

CREATE FUNCTION stamp_image() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.change_seq := nextval('stamp');
    IF TG_OP = 'INSERT' THEN
        NEW.created_seq := NEW.change_seq;
        NEW.uploaded_at := clock_timestamp();
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER image_lock
    BEFORE INSERT OR UPDATE OF ahash, phash, dhash, whash, verifier, turned, pixel_sha256, status, deleted_at
    ON image FOR EACH STATEMENT EXECUTE FUNCTION take_stamp_lock();
CREATE TRIGGER image_stamp
    BEFORE INSERT OR UPDATE OF ahash, phash, dhash, whash, verifier, turned, pixel_sha256, status, deleted_at
    ON image FOR EACH ROW EXECUTE FUNCTION stamp_image();
"""

KEPT = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0] USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER image_stamps_are_kept
    BEFORE UPDATE OF created_seq, change_seq ON image
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('stamps are set by triggers only');
CREATE TRIGGER image_rows_are_kept
    BEFORE DELETE OR TRUNCATE ON image
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('a deleted image stays as a tombstone');
CREATE TRIGGER event_append_only
    BEFORE UPDATE OR DELETE OR TRUNCATE ON event
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('the event log is append-only');
"""


def upgrade() -> None:
    for script in (TABLES, STAMPS, KEPT):
        op.execute(script)


def downgrade() -> None:
    op.execute(
        "DROP TABLE index_meta, worker, job, event, match, image, access_key, client CASCADE;"
        "DROP SEQUENCE stamp; DROP FUNCTION take_stamp_lock, stamp_image, refuse_change;"
    )
