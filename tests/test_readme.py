"""The commands of README.md are run, and what it says of the answer is held against a real one."""

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pictures import encoded, photo
from tests.service import COMMAND, ROOT, Service, environment, run

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)


def commands() -> list[str]:
    """Shell commands of the README, continuation lines joined, comments gone."""
    shell = "\n".join(body for language, body in BLOCKS if language == "sh").replace("\\\n", " ")
    return [line.split("  #")[0].strip() for line in shell.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("readme") / "data").wait_until_ready()
    yield service
    service.stop()


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makes = [line for line in commands() if line.startswith("make ")]
    assert makes == ["make run", "make test"]
    for line in [*makes, "make demo", "make check"]:
        done = subprocess.run(
            ["make", "-n", *shlex.split(line)[1:]], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_claimprint_commands_run_as_written(service: Service) -> None:
    folder = service.data_dir / "photos" / "KD-1"
    folder.mkdir(parents=True)
    (folder / "a.jpg").write_bytes(encoded(photo("rocket")))
    lines = [line for line in commands() if line.startswith("claimprint ")]
    assert len(lines) == 7
    for line in lines:
        done = run(service.data_dir, *shlex.split(line)[1:])
        assert done.returncode == 0, (line, done.stderr)
        if "keys create" in line:
            assert done.stdout.splitlines()[-1].startswith("cp_")


def test_curl_line_gives_the_answer_shown(service: Service) -> None:
    (line,) = [line for line in commands() if line.startswith("curl ")]
    service.key = run(
        service.data_dir, "keys", "create", "--client", "readme", "--role", "admin"
    ).stdout.splitlines()[-1]
    service.upload("KD-2025-0199", encoded(photo("chelsea").transpose(0)))
    (service.data_dir / "data").mkdir(exist_ok=True)
    (service.data_dir / "data" / "example.jpg").write_bytes(encoded(photo("chelsea"), quality=60))
    done = subprocess.run(
        ["bash", "-c", line.replace("127.0.0.1:8000", f"127.0.0.1:{service.port}")],
        cwd=service.data_dir,
        env=environment(service.data_dir, key=service.key),
        capture_output=True,
        text=True,
        check=True,
    )
    answer = json.loads(done.stdout)
    (shown,) = [json.loads(body) for language, body in BLOCKS if language == "json"]
    for members, example in (
        (answer, shown),
        (answer["images"][0], shown["images"][0]),
        (answer["images"][0]["matches"][0], shown["images"][0]["matches"][0]),
    ):
        assert set(example) <= set(members)
    assert answer["duplicate"] is shown["duplicate"] is True
    found, example = answer["images"][0]["matches"][0], shown["images"][0]["matches"][0]
    for name in ("claim_id", "relation", "kind", "transform"):
        assert found[name] == example[name]
    assert set(found["distances"]) == set(example["distances"])


def test_every_path_it_names_exists() -> None:
    for name in re.findall(r"\]\(([^)#]+)\)|`((?:app|docs|tests|benchmarks)/[\w/.-]*)`", README):
        path = next(filter(None, name))
        if "://" not in path:
            assert (ROOT / path).exists(), path


def test_every_call_it_names_is_served(service: Service) -> None:
    served = service.request("GET", "/openapi.json")[1]["paths"]
    templates = {re.sub(r"\{\w+\}", "{}", path) for path in served}
    named = re.findall(r"`(?:GET|POST|PATCH|DELETE) (/[^`?\s]*)", README)
    assert len(named) >= 9
    for path in named:
        assert re.sub(r"\{\w+\}", "{}", path) in templates, path


def test_module_form_is_the_same_command(tmp_path: Path) -> None:
    done = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert "Usage: claimprint" in done.stdout
