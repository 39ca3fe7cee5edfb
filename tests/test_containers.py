import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[1]


@pytest.fixture
def compose() -> Any:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.fixture
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


def test_service_runs_unprivileged_on_a_read_only_root(compose: Any, dockerfile: str) -> None:
    service = compose["services"]["service"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", dockerfile, re.MULTILINE)
    assert dockerfile.index("USER ") < dockerfile.index('CMD ["claimprint", "serve"]')
    assert "HEALTHCHECK" in dockerfile


def test_database_keeps_its_data_in_a_named_volume_and_has_no_default_password(compose: Any) -> None:
    database = compose["services"]["database"]
    volumes = {volume.split(":")[0] for volume in database["volumes"]}
    assert volumes <= set(compose["volumes"])
    assert "ports" not in database
    assert database["environment"]["POSTGRES_PASSWORD"].startswith("${POSTGRES_PASSWORD:?")


def test_compose_runs_the_major_version_that_is_embedded(compose: Any) -> None:
    from app.embedded.binaries import MAJOR_VERSION

    assert compose["services"]["database"]["image"] == f"postgres:{MAJOR_VERSION}"


def test_everything_the_image_copies_is_let_through(dockerfile: str) -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert ignored[0] == "*"
    for line in re.findall(r"^COPY (?!--)(.+) \S+$", dockerfile, re.MULTILINE):
        for name in line.split():
            assert f"!{name}" in ignored
            assert (ROOT / name).exists()


def test_kernels_are_compiled_for_the_cpu_they_run_with(dockerfile: str) -> None:
    assert len(set(re.findall(r"NUMBA_CPU_NAME=(\S+)", dockerfile))) == 1
    assert len(set(re.findall(r"NUMBA_CACHE_DIR=(\S+)", dockerfile))) == 1


def test_lock_files_record_no_address() -> None:
    for name in ("requirements.lock", "requirements-dev.lock"):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if "://" in line]
        assert sum("--hash=sha256:" in line for line in lines) > 100
