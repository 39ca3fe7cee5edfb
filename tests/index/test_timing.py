"""`claimprint bench index`: every engine is timed, and the sizes of their answers are compared."""

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from app.cli import main
from app.index import timing
from app.index.engines import ENGINES
from app.index.scan import Scan


def run(*arguments):
    done = CliRunner().invoke(main, ["bench", "index", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_json_has_a_row_for_each_engine_and_radius():
    rows = json.loads(run("--size", "2000", "--radius", "4", "--radius", "64", "--json"))
    assert all(set(row) == {"engine", "radius", "median_us", "found"} for row in rows)
    for name in (*ENGINES, "numpy"):
        assert {row["radius"]: row["found"] for row in rows if row["engine"] == name} == {4: 1.0, 64: 2000.0}
    assert all(row["median_us"] > 0 for row in rows)


def test_table_has_a_line_for_each_radius_and_what_was_built():
    output = run("--size", "1", "--radius", "2")
    assert "| 2 |" in output
    assert all(f"{name}: built in" in output for name in ENGINES)


def test_engines_that_disagree_are_told_of(monkeypatch):
    class Forgetful(Scan):
        def within(self, query, max_distance):
            found = super().within(query, max_distance)
            return type(found)(found.ids[1:], found.distances[1:])

    monkeypatch.setattr(timing, "ENGINES", {"scan": Scan, "forgetful": Forgetful})
    bench = timing.IndexBench(np.arange(100, dtype=np.uint64))
    with pytest.raises(ValueError, match="forgetful finds"):
        list(bench.run([64]))


def test_unknown_fingerprint_of_the_collection_is_named():
    done = CliRunner().invoke(main, ["bench", "index", "--collection", "--fingerprint", "nohash"])
    assert done.exit_code == 1
    assert "no fingerprint nohash" in done.output


@pytest.mark.parametrize(
    "arguments", [["--collection", "--size", "5"], ["--fingerprint", "phash"], ["--size", "0"]]
)
def test_options_that_do_not_go_together_are_refused(arguments):
    done = CliRunner().invoke(main, ["bench", "index", *arguments])
    assert done.exit_code == 2
    assert "Error" in done.output


def test_a_peer_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)
    assert "not compared: faiss_flat, faiss_multi_hash" in run("--size", "10", "--radius", "2")
