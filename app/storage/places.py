"""Opening the storage of pictures that the settings name."""

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast
from urllib.parse import unquote, urlsplit

from app.errors import StartupError
from app.settings import Settings
from app.storage.local import LocalPictures
from app.storage.pictures import Pictures

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

CONNECT_SECONDS = 2.0
MOST_RETRIES = 2
# By scheme, what the environment's names begin with.
PREFIXES = {"s3": "AWS_", "gs": "GOOGLE_", "az": "AZURE_"}
# obstore reads these by itself, but not beside time limits.
CLIENT_OPTIONS = (
    "allow_http",
    "allow_invalid_certificates",
    "proxy_url",
    "proxy_ca_certificate",
    "proxy_excludes",
)


def open_pictures(settings: Settings, folder: Literal["pictures", "templates"] = "pictures") -> Pictures:
    """The pictures of images, or those of templates; the storage is not asked yet. Raises StartupError."""
    url = settings.pictures_url.rstrip("/")
    local = _local_root(settings, url)
    if local is not None:
        return LocalPictures(
            local / folder,
            min_free_bytes=settings.min_free_bytes,
            store_originals=settings.store_originals,
        )
    # Only here: whoever keeps pictures in a folder needs none of it.
    from app.storage.objects import ObjectPictures

    return ObjectPictures(
        _object_store(f"{url}/{folder}", settings.pictures_timeout_seconds),
        LocalPictures(settings.data_dir / "staging" / folder, min_free_bytes=settings.min_free_bytes),
        f"{url}/{folder}",
        store_originals=settings.store_originals,
    )


def _local_root(settings: Settings, url: str) -> Path | None:
    if not url:
        return settings.data_dir
    parts = urlsplit(url)
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _object_store(url: str, timeout_seconds: float) -> "ObjectStore":
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    longest = timedelta(seconds=timeout_seconds)
    client: ClientConfig = {
        "connect_timeout": min(timedelta(seconds=CONNECT_SECONDS), longest),
        "timeout": longest,
        **_client_options(PREFIXES[urlsplit(url).scheme], os.environ),
    }
    retry: RetryConfig = {"max_retries": MOST_RETRIES, "retry_timeout": longest}
    try:
        return from_url(url, client_options=client, retry_config=retry)
    except (BaseError, ValueError) as error:
        reason = str(error).split("\n\n", 1)[0]
        raise StartupError(f"pictures can't be kept in {url}: {reason}") from error


def _client_options(prefix: str, environment: Mapping[str, str]) -> "ClientConfig":
    """Options of the HTTP client that the environment gives.

    >>> _client_options("AWS_", {"AWS_ALLOW_HTTP": "true", "HOME": "/"})
    {'allow_http': 'true'}
    """
    given = {name: environment.get(f"{prefix}{name.upper()}") for name in CLIENT_OPTIONS}
    return cast("ClientConfig", {name: value for name, value in given.items() if value})
