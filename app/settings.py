"""Every setting of the service: one flat class, read from the environment (or a `.env` file)."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

MIB = 1024 * 1024
PICTURE_SCHEMES = ("s3", "gs", "az", "file")


class Settings(BaseSettings):
    """Settings with their unit and default; `MAX_FILE_BYTES=1000000` in the environment sets `max_file_bytes`."""

    model_config = SettingsConfigDict(env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True)

    database_url: str = Field(
        default="", description="PostgreSQL, as a URL. Empty: an embedded server under `data_dir`."
    )
    data_dir: Path = Field(
        default=Path("data"), description="Pictures, and the embedded database's files, live here."
    )
    pictures_url: str = Field(
        default="",
        description="Where pictures are kept, in folders `pictures` and `templates`: s3://bucket/prefix (and what "
        "speaks S3), gs://, az:// or file:///folder. Empty: `data_dir`. Credentials as each names them in the "
        "environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, AWS_ALLOW_HTTP, ...).",
    )
    pictures_timeout_seconds: float = Field(
        default=10.0,
        gt=0,
        description="Longest request to object storage; after it no further attempt begins.",
    )
    store_originals: bool = Field(
        default=True,
        description="Keep uploaded bytes. False: only renditions of at most 512 px, of what is uploaded from then.",
    )
    host: str = Field(default="127.0.0.1", description="Address the server listens on.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port the server listens on.")
    workers: int = Field(default=1, ge=1, le=64, description="Worker processes of the HTTP server.")
    decode_processes: int = Field(
        default_factory=lambda: os.cpu_count() or 1, ge=1, description="Decoding processes per worker."
    )
    decode_niceness: int = Field(
        default=2,
        ge=0,
        le=19,
        description="By how much decoding yields to what answers and compares; a scan has 10 unless this is set.",
    )
    max_queued_files: int = Field(
        default=64,
        ge=1,
        description="Files waiting for or in a decoder, per worker, before 503; the bodies of requests under way "
        "have as many times `max_file_bytes` together.",
    )

    max_file_bytes: int = Field(default=25 * MIB, ge=1, description="Bytes of one uploaded file.")
    max_files: int = Field(default=20, ge=1, description="Files in one request.")
    max_request_bytes: int = Field(default=100 * MIB, ge=1, description="Bytes of one request's body.")
    body_seconds: float = Field(
        default=60.0, gt=0, description="Seconds that a request's body may take to arrive."
    )
    max_pixels: int = Field(default=50_000_000, ge=1, description="Pixels that a file's header may claim.")
    decode_cpu_seconds: int = Field(default=10, ge=1, description="CPU seconds to decode one file.")
    decode_wall_seconds: float = Field(default=15.0, gt=0, description="Wall seconds to decode one file.")
    decode_memory_bytes: int = Field(
        default=1024 * MIB, ge=64 * MIB, description="Memory one decode may add to its process."
    )
    allow_avif: bool = Field(default=False, description="Take AVIF files.")
    allow_heic: bool = Field(
        default=False, description="Take HEIC files; needs the extra `claimprint[heic]`."
    )
    keep_gps: bool = Field(default=False, description="Keep the GPS position found in EXIF.")

    min_free_bytes: int = Field(
        default=64 * MIB, ge=0, description="Free bytes that uploads leave on the disk of `data_dir`."
    )

    index_engine: Literal["auto", "bktree", "multi_index", "scan"] = Field(
        default="auto",
        description="Engine of the Hamming indexes: auto takes for each search what costs least; bktree, "
        "multi_index or scan pins one.",
    )
    near_duplicate_distance: int = Field(
        default=12, ge=0, le=64, description="Bits within which phash or dhash proposes a near duplicate."
    )
    verifier_distance: int = Field(
        default=56, ge=0, le=256, description="Bits within which the 256-bit verifier consents."
    )
    page_verifier_distance: int = Field(
        default=24, ge=0, le=256, description="The same where a picture is text on white: forms are alike."
    )

    near_duplicate_score: float = Field(
        default=0.5,
        ge=-1,
        le=1,
        description="Correlation of its smallest parts below which what was proposed is no near duplicate.",
    )
    near_duplicate_shift: float = Field(
        default=0.85,
        gt=0,
        description="Pixels, of 320 at most, by which no near duplicate lies beside where it should.",
    )
    copy_strength: float = Field(
        default=2.3, description="Logarithm of the odds that a part of a picture is a copy, at least."
    )
    copy_cover: float = Field(
        default=0.12,
        ge=0,
        le=1,
        description="Share of one of both pictures that a copied part is, at least: a logo is less.",
    )
    text_copy_share: float = Field(
        default=0.99, ge=0, le=1, description="Share that is alike of a copy that is text on plain ground."
    )
    scene_inliers: int = Field(
        default=28, ge=16, description="Keypoints that agree about, of pictures of the same scene, at least."
    )
    layout_apart: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="Share that differs in one rectangle, from which on what is the same around it is a layout.",
    )

    database_pool_size: int = Field(default=20, ge=1, description="Database connections per worker.")
    database_connect_seconds: int = Field(
        default=2, ge=2, description="Time to connect before 503 (libpq's least is 2)."
    )
    lock_timeout_ms: int = Field(default=3000, ge=1, description="Longest wait for a lock in PostgreSQL.")
    statement_timeout_ms: int = Field(default=30_000, ge=1, description="Longest statement of a request.")
    sweep_seconds: float = Field(default=60.0, gt=0, description="Pause between two sweeps.")
    orphan_file_seconds: float = Field(
        default=3600.0, gt=0, description="Age at which a picture file without a live row is erased."
    )
    job_stale_seconds: float = Field(
        default=15.0, gt=0, description="Silence after which another worker takes a job over."
    )

    @field_validator("database_url")
    @classmethod
    def _name_the_driver(cls, url: str) -> str:
        """In SQLAlchemy 2.1 a bare `postgresql://` means psycopg 3; this project carries psycopg2."""
        for scheme in ("postgres://", "postgresql://"):
            if url.startswith(scheme):
                url = "postgresql+psycopg2://" + url.removeprefix(scheme)
        if url and not url.startswith("postgresql+psycopg2://"):
            raise ValueError("must begin with postgresql://")
        return url

    @field_validator("pictures_url")
    @classmethod
    def _know_the_scheme(cls, url: str) -> str:
        scheme, _, rest = url.partition("://")
        if url and (scheme not in PICTURE_SCHEMES or not rest or "?" in rest):
            raise ValueError("must begin with s3://, gs://, az:// or file:/// and have no ?")
        if scheme == "file" and not rest.startswith("/"):
            raise ValueError("must be file:/// and an absolute path")
        return url

    @field_validator("data_dir", mode="before")
    @classmethod
    def _empty_means_unset(cls, folder: object) -> object:
        return folder or Path("data")


@lru_cache(maxsize=1)
def settings_from_environment() -> Settings:
    """Settings of this process, read once."""
    return Settings()
