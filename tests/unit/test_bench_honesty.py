"""The suite calls out contenders that cheat, by the whole way to the report."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from taskbridge_bench.cells import Key, Verdict
from taskbridge_bench.results import Failure, Results, read

ROOT = Path(__file__).parents[2]
DRAIN = Key(
    scenario="drain-200",
    profile="equal",
    work="noop",
    database="sqlite",
    metric="rate",
)
SLIGHT = 0.6
"""A contender differs from its copy by chance in 5 % of runs, but not by so much."""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    directory = tmp_path_factory.mktemp("honesty")
    environ = dict(os.environ)
    for name in ("TASKBRIDGE_TEST_REDIS_URL", "DJANGO_SETTINGS_MODULE"):
        environ.pop(name, None)
    command = [sys.executable, "-m", "tests.unit.honesty_bench", str(directory)]
    subprocess.run(command, cwd=ROOT, env=environ, check=True, timeout=240)
    return read(json.loads((directory / "document.json").read_text()))


def failure_of(results: Results, contender: str) -> Failure:
    [failure] = [each for each in results.failures if each.contender == contender]
    return failure


def test_contender_that_drops_tasks_is_a_failure_that_names_them(results: Results):
    failure = failure_of(results, "tiny_drop-native")

    assert failure.scenario == "drain-200"
    assert "lost: 2 of 200 tasks (key 99, 199)" in failure.reason
    assert results.cell(DRAIN, "tiny_drop-native") is None


def test_contender_that_repeats_tasks_is_a_failure_that_names_them(results: Results):
    failure = failure_of(results, "tiny_twice-native")

    assert failure.scenario == "drain-200"
    # The ledger is full before the last of them has run again.
    assert re.search(r"ran more than once: [12] of 200 tasks \(key 99", failure.reason)
    assert results.cell(DRAIN, "tiny_twice-native") is None


def test_contender_that_starts_too_early_is_a_failure_that_says_so(results: Results):
    failure = failure_of(results, "tiny_early-native")

    assert failure.scenario == "schedule"
    assert "started before their time: 35 of 35" in failure.reason


def test_contender_that_starts_a_little_too_early_is_seen_to(results: Results):
    early = replace(DRAIN, scenario="schedule", metric="early")

    hasty, honest = (results.cell(early, f"{n}-native") for n in ("tiny_hasty", "tiny"))

    assert hasty is not None
    assert hasty.estimate.median == 35
    assert honest is not None
    assert honest.estimate.median == 0


def test_contender_that_is_slower_is_worse(results: Results):
    comparison = results.comparison(DRAIN, "tiny-durable")

    assert comparison is not None
    assert comparison.verdict is Verdict.WORSE
    assert comparison.ratio < SLIGHT


def test_honest_contender_and_its_copy_are_not_called_out(results: Results):
    comparison = results.comparison(DRAIN, "tiny-bridge")

    assert comparison is not None
    assert comparison.verdict is not Verdict.WORSE or comparison.ratio > SLIGHT
    called_out = {failure.contender for failure in results.failures}
    assert called_out == {"tiny_drop-native", "tiny_twice-native", "tiny_early-native"}
