"""Several workers on one database, started, killed and replaced through the nursery."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

import app
from tests.consistency.worker import Task

PROJECT = Path(app.__file__).parents[1]
# The nursery must have no threads when it forks.
ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


class Nursery:
    """The process that forks workers; it and they end with this block."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.consistency.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, **ONE_THREAD, "PYTHONPATH": str(PROJECT)},
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()

    def start(self, task: Task) -> int:
        """Start a worker; return its process id."""
        return self._ask(asdict(task))

    def kill(self, pid: int) -> None:
        """End a worker by SIGKILL and wait until it is gone."""
        self._ask({"kill": pid})

    def _ask(self, command: dict[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Herd:
    """A number of workers with the same task; leaving the block kills them all."""

    def __init__(self, nursery: Nursery, task: Task, workers: int):
        self._nursery = nursery
        self._task = task
        self._size = workers
        self._started = 0
        self._running: list[int] = []

    def __enter__(self) -> Self:
        for _ in range(self._size):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in self._running:
            self._nursery.kill(pid)

    def replace_one(self, rng: np.random.Generator) -> None:
        """Kill any one of them and start another."""
        self._nursery.kill(self._running.pop(rng.integers(len(self._running))))
        self._start()

    def _start(self) -> None:
        self._running.append(self._nursery.start(replace(self._task, number=self._started)))
        self._started += 1
