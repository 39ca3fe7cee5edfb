"""Templates, stamped as images are, and the images they are found in; clusters, of the newest run of each kind."""

from alembic import op

revision = "0005"
down_revision = "0004"

TEMPLATES = """
CREATE TABLE template (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    template_id uuid NOT NULL UNIQUE,
    created_seq bigint NOT NULL UNIQUE,
    change_seq bigint NOT NULL UNIQUE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamptz,
    name text,
    enabled boolean,
    fingerprint text,
    max_distance integer,
    code bytea,
    width integer,
    height integer,
    region jsonb,
    scanned_seq bigint,
    scanned_images integer,
    middle double precision,
    spread double precision,
    CONSTRAINT template_live_is_whole CHECK (
        deleted_at IS NOT NULL OR (
            name IS NOT NULL AND enabled IS NOT NULL AND fingerprint IS NOT NULL AND max_distance IS NOT NULL
            AND code IS NOT NULL AND width IS NOT NULL AND height IS NOT NULL
        )
    )
);

CREATE TABLE template_match (
    template_id bigint NOT NULL REFERENCES template (id),
    image_id bigint NOT NULL REFERENCES image (id),
    distance integer NOT NULL,
    transform text,
    region jsonb,
    PRIMARY KEY (template_id, image_id)
);
CREATE INDEX template_match_image ON template_match (image_id);

CREATE FUNCTION stamp_template() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.change_seq := nextval('stamp');
    IF TG_OP = 'INSERT' THEN
        NEW.created_seq := NEW.change_seq;
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER template_lock BEFORE INSERT OR UPDATE OF code, max_distance, enabled, deleted_at
    ON template FOR EACH STATEMENT EXECUTE FUNCTION take_stamp_lock();
CREATE TRIGGER template_stamp BEFORE INSERT OR UPDATE OF code, max_distance, enabled, deleted_at
    ON template FOR EACH ROW EXECUTE FUNCTION stamp_template();
CREATE TRIGGER template_stamps_are_kept
    BEFORE UPDATE OF created_seq, change_seq ON template
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('stamps are set by triggers only');
CREATE TRIGGER template_rows_are_kept
    BEFORE DELETE OR TRUNCATE ON template
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change('a deleted template stays as a tombstone');
"""

# A member's image is no foreign key: checking 150,000 of them would lock as many images. Readers join live ones.
CLUSTERS = """
CREATE TABLE cluster_run (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL UNIQUE,
    fingerprint text NOT NULL,
    linkage text NOT NULL CONSTRAINT cluster_run_linkage CHECK (linkage IN ('medoid', 'single')),
    max_distance integer NOT NULL,
    min_size integer NOT NULL,
    filter jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    as_of_seq bigint NOT NULL,
    outside integer NOT NULL,
    left_out jsonb NOT NULL,
    ended jsonb NOT NULL
);

CREATE UNIQUE INDEX cluster_run_question ON cluster_run (fingerprint, linkage, max_distance, filter);

CREATE TABLE cluster (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    cluster_id uuid NOT NULL UNIQUE,
    run_id bigint NOT NULL REFERENCES cluster_run (id) ON DELETE CASCADE,
    medoid_id bigint NOT NULL,
    came_from jsonb NOT NULL
);
CREATE INDEX cluster_of_run ON cluster (run_id);

CREATE TABLE cluster_member (
    cluster_id bigint NOT NULL REFERENCES cluster (id) ON DELETE CASCADE,
    image_id bigint NOT NULL,
    distance integer NOT NULL,
    PRIMARY KEY (cluster_id, image_id)
);
CREATE INDEX cluster_member_image ON cluster_member (image_id);
"""

# When the damage was claimed, where a label tells, else when its picture came.
HAPPENED_ON = r"""
CREATE FUNCTION happened_on(labels jsonb, uploaded_at timestamptz) RETURNS date LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN labels ? 'claimed_at' AND labels ->> 'claimed_at' ~ '^\d{4}-\d\d-\d\d'
            AND pg_input_is_valid(left(labels ->> 'claimed_at', 10), 'date')
        THEN left(labels ->> 'claimed_at', 10)::date
        ELSE (uploaded_at AT TIME ZONE 'UTC')::date END
$$;
"""


def upgrade() -> None:
    for script in (TEMPLATES, CLUSTERS, HAPPENED_ON):
        op.execute(script)


def downgrade() -> None:
    op.execute(
        "DROP FUNCTION happened_on; DROP TABLE cluster_member, cluster, cluster_run, template_match, template;"
        " DROP FUNCTION stamp_template"
    )
