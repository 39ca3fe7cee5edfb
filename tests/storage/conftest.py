"""Both storages of pictures, each empty."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.settings import Settings
from app.storage import Pictures, open_pictures
from tests.object_storage import Bucket

Open = Callable[..., Pictures]


@pytest.fixture
def open_in(tmp_path: Path) -> Iterator[Callable[[str], Open]]:
    """Opens the storage of a URL, with further settings: `open_in(url)("templates", store_originals=False)`."""
    opened: list[Pictures] = []

    def open_url(url: str) -> Open:
        def open_one(folder: Any = "pictures", **further: Any) -> Pictures:
            settings = Settings(
                _env_file=None,  # type: ignore[call-arg]
                data_dir=tmp_path / "data",
                pictures_url=url,
                min_free_bytes=0,
                **further,
            )
            opened.append(open_pictures(settings, folder))
            return opened[-1]

        return open_one

    yield open_url
    for each in opened:
        each.close()


@pytest.fixture(params=["local", "s3"])
def open_some(request: pytest.FixtureRequest, open_in: Callable[[str], Open]) -> Open:
    """Opens one of the storages."""
    return open_in("" if request.param == "local" else request.getfixturevalue("bucket").url)


@pytest.fixture
def pictures(open_some: Open) -> Pictures:
    """Pictures in one of the storages."""
    return open_some()


@pytest.fixture
def objects(open_in: Callable[[str], Open], bucket: Bucket) -> Pictures:
    """Pictures in object storage."""
    return open_in(bucket.url)()
