"""The tables, as SQLAlchemy Core. `migrations/` makes them; a test compares the two.

A hash is an unsigned 64-bit integer everywhere else in the program; only the type `Hash64` here knows that
PostgreSQL's `bigint` is signed.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, UUID
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

TWO_64 = 1 << 64
# None is SQL's NULL, not the JSON value null.
JSON = JSONB(none_as_null=True)


def signed(value: int) -> int:
    """An unsigned 64-bit integer as the `bigint` of the same bits."""
    return value if value < TWO_64 // 2 else value - TWO_64


class Hash64(TypeDecorator[int]):
    """Unsigned 64-bit integer kept in a signed `bigint` by two's complement."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Unsigned -> signed."""
        return None if value is None else signed(value)

    def process_result_value(self, value: Any | None, dialect: Dialect) -> int | None:  # noqa: ARG002
        """Signed -> unsigned."""
        return value if value is None or value >= 0 else value + TWO_64


metadata = MetaData()


def _time(name: str, **options: Any) -> Column[Any]:
    return Column(name, DateTime(timezone=True), **options)


client = Table(
    "client",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    _time("created_at", nullable=False, server_default=text("clock_timestamp()")),
)

access_key = Table(
    "access_key",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("client_id", BigInteger, ForeignKey("client.id"), nullable=False),
    Column("role", Text, nullable=False),
    Column("prefix", Text, nullable=False, unique=True),
    Column("key_sha256", LargeBinary, nullable=False, unique=True),
    _time("created_at", nullable=False, server_default=text("clock_timestamp()")),
    _time("revoked_at"),
    CheckConstraint("role IN ('portal', 'qc', 'admin')", name="access_key_role"),
)

image = Table(
    "image",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("image_id", UUID(as_uuid=True), nullable=False, unique=True),
    # Both stamps come from triggers; see docs/decisions/0002.
    Column("created_seq", BigInteger, nullable=False, unique=True),
    Column("change_seq", BigInteger, nullable=False, unique=True),
    _time("uploaded_at"),
    _time("deleted_at"),
    _time("screened_at"),
    Column("claim_id", Text),
    Column("uploaded_by", BigInteger, ForeignKey("client.id")),
    Column("file_name", Text),
    Column("sha256", LargeBinary),
    Column("pixel_sha256", LargeBinary),
    Column("format", Text),
    Column("width", Integer),
    Column("height", Integer),
    Column("byte_count", BigInteger),
    Column("status", Text),
    Column("ahash", Hash64),
    Column("phash", Hash64),
    Column("dhash", Hash64),
    Column("whash", Hash64),
    Column("verifier", LargeBinary),  # 32 bytes
    Column("turned", LargeBinary),  # fingerprints.value.turned_to_bytes
    # Rows from before these were defined have none of the four; a job fills them in.
    Column("whash_db4", Hash64),
    Column("colorhash", BigInteger),  # 42 bits
    Column("colour_code", LargeBinary),  # 16 bytes
    Column("page", Boolean),
    # The first word of the pattern fingerprint; rows from before it was defined have none until a job fills it in.
    Column("pattern", Hash64),
    # How many keypoints `image_keypoints` has; rows from before those have none until a job finds them.
    Column("keypoint_count", SmallInteger),
    Column("fingerprint_version", Integer),
    Column("library_versions", JSON),
    Column("labels", JSON),
    Column("day", Date, Computed("happened_on(labels, uploaded_at)", persisted=True)),
    Column("source", JSON),
    Column("exif", JSON),
    _time("taken_at"),
    Column("camera_make", Text),
    Column("camera_model", Text),
    Column("camera_software", Text),
    CheckConstraint("status IN ('fingerprinted', 'low_information')", name="image_status"),
    CheckConstraint(
        "deleted_at IS NOT NULL OR (claim_id IS NOT NULL AND sha256 IS NOT NULL AND uploaded_at IS NOT NULL"
        " AND file_name IS NOT NULL AND format IS NOT NULL AND width IS NOT NULL AND height IS NOT NULL"
        " AND byte_count IS NOT NULL AND status IS NOT NULL AND ahash IS NOT NULL AND phash IS NOT NULL"
        " AND dhash IS NOT NULL AND whash IS NOT NULL AND verifier IS NOT NULL AND turned IS NOT NULL"
        " AND fingerprint_version IS NOT NULL AND labels IS NOT NULL)",
        name="image_live_is_whole",
    ),
    # NULL, as in a tombstone, satisfies it.
    CheckConstraint(
        "octet_length(verifier) = 32 AND octet_length(colour_code) = 16"
        " AND octet_length(turned) = CASE WHEN whash_db4 IS NULL THEN 512 ELSE 576 END",
        name="image_fingerprint_sizes",
    ),
    CheckConstraint(
        "num_nulls(whash_db4, colorhash, colour_code, page) IN (0, 4)", name="image_later_hashes_together"
    ),
    Index(
        "image_claim_sha256", "claim_id", "sha256", unique=True, postgresql_where=text("deleted_at IS NULL")
    ),
    Index("image_sha256", "sha256", postgresql_where=text("deleted_at IS NULL")),
    Index("image_day", "day", postgresql_where=text("deleted_at IS NULL")),
    Index("image_deleted", "deleted_at", postgresql_where=text("deleted_at IS NOT NULL")),
    Index(
        "image_pixel_sha256",
        "pixel_sha256",
        postgresql_where=text("deleted_at IS NULL AND status = 'fingerprinted'"),
    ),
    Index(
        "image_to_fill",
        "created_seq",
        postgresql_where=text("deleted_at IS NULL AND keypoint_count IS NULL"),
    ),
    Index(
        "image_unscreened",
        "created_seq",
        postgresql_where=text("deleted_at IS NULL AND screened_at IS NULL"),
    ),
)

# Written in the transaction that stamps their image, so that its stamp stands for them too.
segment = Table(
    "segment",
    metadata,
    Column("created_seq", BigInteger, ForeignKey("image.created_seq"), primary_key=True),
    Column("ordinal", SmallInteger, primary_key=True),
    Column("hash", Hash64, nullable=False),
    Column("turned", LargeBinary, nullable=False),  # of all orientations, as that of `image`
    # The box, in pixels of the normalised picture.
    Column("x", SmallInteger, nullable=False),
    Column("y", SmallInteger, nullable=False),
    Column("width", SmallInteger, nullable=False),
    Column("height", SmallInteger, nullable=False),
    CheckConstraint("octet_length(turned) = 64", name="segment_turned_size"),
)

# Written as segments are. 32 bytes, then 32 and a bit for each of up to 92 tiles, 4 (`fingerprints.value.Pattern`).
pattern_tiles = Table(
    "pattern_tiles",
    metadata,
    Column("created_seq", BigInteger, ForeignKey("image.created_seq"), primary_key=True),
    Column("words", LargeBinary, nullable=False),
    Column("tiles", LargeBinary, nullable=False),
    Column("flat", LargeBinary, nullable=False),
    Column("blocks", LargeBinary, nullable=False),
    CheckConstraint(
        "octet_length(words) = 32 AND octet_length(tiles) % 32 = 0"
        " AND octet_length(flat) = (octet_length(tiles) / 32 + 7) / 8 AND octet_length(blocks) = 4",
        name="pattern_tiles_sizes",
    ),
)

# Written as segments are: of up to 160 keypoints 8 bytes each, and 4 (`fingerprints.keypoint_value`).
image_keypoints = Table(
    "image_keypoints",
    metadata,
    Column("created_seq", BigInteger, ForeignKey("image.created_seq"), primary_key=True),
    Column("codes", LargeBinary, nullable=False),
    Column("places", LargeBinary, nullable=False),
    CheckConstraint(
        "octet_length(codes) % 8 = 0 AND octet_length(codes) <= 1280"
        " AND octet_length(places) = octet_length(codes) / 2",
        name="image_keypoints_sizes",
    ),
)

match = Table(
    "match",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("match_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("earlier_id", BigInteger, ForeignKey("image.id"), nullable=False),
    Column("later_id", BigInteger, ForeignKey("image.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("rank", SmallInteger, nullable=False),  # matching.kinds: 0 is the strongest kind
    Column("nearest", Integer, nullable=False),  # least distance in bits, for best first
    Column("distances", JSON, nullable=False),
    Column("transform", Text, nullable=False),  # turns the later picture into the earlier one
    Column("evidence", JSON, nullable=False, server_default=text("'{}'::jsonb")),
    Column("rule_version", Integer, nullable=False),
    _time("found_at", nullable=False, server_default=text("clock_timestamp()")),
    UniqueConstraint("earlier_id", "later_id", name="match_pair"),
    CheckConstraint("earlier_id <> later_id", name="match_of_two"),
    Index("match_later", "later_id"),
)

# Stamped as images are: an upload and a new template can't miss each other. A tombstone keeps ids and stamps.
template = Table(
    "template",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("template_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("created_seq", BigInteger, nullable=False, unique=True),
    Column("change_seq", BigInteger, nullable=False, unique=True),
    _time("created_at", nullable=False, server_default=text("clock_timestamp()")),
    _time("deleted_at"),
    Column("name", Text),
    Column("enabled", Boolean),
    Column("fingerprint", Text),
    Column("max_distance", Integer),
    Column("code", LargeBinary),  # big-endian words: matching.templates, matching.sightings
    # Of the rendition, in pixels of which the region is; none where the whole picture is meant.
    Column("width", Integer),
    Column("height", Integer),
    Column("region", JSON),
    # The last scan of all images: for which `change_seq`, and what chance levels are computed from.
    Column("scanned_seq", BigInteger),
    Column("scanned_images", Integer),
    Column("scanned_of", Integer),  # live images: some have no such fingerprint
    Column("middle", Double),
    Column("spread", Double),
    CheckConstraint(
        "deleted_at IS NOT NULL OR (name IS NOT NULL AND enabled IS NOT NULL AND fingerprint IS NOT NULL"
        " AND max_distance IS NOT NULL AND (code IS NOT NULL OR fingerprint = 'keypoints')"
        " AND width IS NOT NULL AND height IS NOT NULL)",
        name="template_live_is_whole",
    ),
    CheckConstraint(
        "CASE fingerprint WHEN 'keypoints' THEN octet_length(code) > 0 AND octet_length(code) % 25 = 0"
        " WHEN 'colorhash' THEN octet_length(code) = 16 ELSE octet_length(code) = 64 END",
        name="template_code_size",
    ),
)

template_match = Table(
    "template_match",
    metadata,
    Column("template_id", BigInteger, ForeignKey("template.id"), primary_key=True),
    Column("image_id", BigInteger, ForeignKey("image.id"), primary_key=True),
    Column("distance", Integer, nullable=False),
    Column("transform", Text),  # turns the template into the image, where its fingerprint has orientations
    Column("region", JSON),  # of the image's rendition, where parts of it were looked at
    Index("template_match_image", "image_id"),
)

# One run for each question: the newest.
cluster_run = Table(
    "cluster_run",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("run_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("fingerprint", Text, nullable=False),
    Column("linkage", Text, nullable=False),
    Column("max_distance", Integer, nullable=False),
    Column("min_size", Integer, nullable=False),
    Column("filter", JSON, nullable=False),
    _time("created_at", nullable=False, server_default=text("clock_timestamp()")),
    Column("as_of_seq", BigInteger, nullable=False),
    Column("outside", Integer, nullable=False),  # images in no cluster
    Column("left_out", JSON, nullable=False),  # numbers of images that have no such fingerprint, by why
    Column("ended", JSON, nullable=False),  # clusters of the run before whose ids nothing carries on
    CheckConstraint("linkage IN ('medoid', 'single')", name="cluster_run_linkage"),
    Index("cluster_run_question", "fingerprint", "linkage", "max_distance", "filter", unique=True),
)

cluster = Table(
    "cluster",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("cluster_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("run_id", BigInteger, ForeignKey("cluster_run.id", ondelete="CASCADE"), nullable=False),
    Column("medoid_id", BigInteger, nullable=False),
    Column("came_from", JSON, nullable=False),  # which clusters of the run before, with how many images each
    Index("cluster_of_run", "run_id"),
)

# Its image is no foreign key: checking 150,000 would lock as many images. Readers join live ones.
cluster_member = Table(
    "cluster_member",
    metadata,
    Column("cluster_id", BigInteger, ForeignKey("cluster.id", ondelete="CASCADE"), primary_key=True),
    Column("image_id", BigInteger, primary_key=True),
    Column("distance", Integer, nullable=False),
    Index("cluster_member_image", "image_id"),
)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _time("at", nullable=False, server_default=text("clock_timestamp()")),
    Column("actor", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSON, nullable=False, server_default=text("'{}'::jsonb")),
)

job = Table(
    "job",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("job_id", UUID(as_uuid=True), nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("params", JSON, nullable=False),
    Column("state", Text, nullable=False, server_default=text("'queued'")),
    Column("progress", JSON, nullable=False, server_default=text("'{}'::jsonb")),
    Column("result", JSON),
    Column("error", Text),
    Column("requested_by", Text, nullable=False),
    Column("runner", UUID(as_uuid=True)),
    Column("cancel_requested", Integer, nullable=False, server_default=text("0")),
    _time("created_at", nullable=False, server_default=text("clock_timestamp()")),
    _time("started_at"),
    _time("heartbeat_at"),
    _time("finished_at"),
    CheckConstraint("state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')", name="job_state"),
    # A second job of a kind while one is under way is refused by the database itself.
    Index("job_one_active", "kind", unique=True, postgresql_where=text("state IN ('queued', 'running')")),
)

worker = Table(
    "worker",
    metadata,
    Column("worker_id", UUID(as_uuid=True), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    _time("started_at", nullable=False, server_default=text("clock_timestamp()")),
    _time("heartbeat_at", nullable=False, server_default=text("clock_timestamp()")),
    Column("generation", BigInteger, nullable=False),
    Column("index_seq", BigInteger, nullable=False),
    Column("rebuild", JSON),  # what the last rebuild found: collection.Difference
)

index_meta = Table(
    "index_meta",
    metadata,
    Column("single", SmallInteger, primary_key=True, server_default=text("1")),
    Column("generation", BigInteger, nullable=False),
    # Written beside the pictures as well, so that a folder is never swept by another database's rows.
    Column("collection_id", UUID(as_uuid=True), nullable=False, server_default=text("gen_random_uuid()")),
    CheckConstraint("single = 1", name="index_meta_one_row"),
)
