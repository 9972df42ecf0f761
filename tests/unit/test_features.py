"""The file of what the contract saw, and the tables that are made from it."""

from dataclasses import fields

import pytest

from taskbridge.compat import task_backends
from taskbridge.features import Features, Support, table
from taskbridge.testing.contract import BackendContract
from taskbridge.testing.contract_durable import DurableContract
from taskbridge.testing.contracts.feature import names_of_tests
from tests.contract import observations

FEATURES = [field.name for field in fields(Features)]
CONTRACTS = {"durable": DurableContract, "native": BackendContract}


@pytest.mark.parametrize("delivery", CONTRACTS)
def test_file_has_an_answer_of_every_column_to_every_feature(delivery):
    columns = observations.published()[delivery]
    assert list(columns) == list(observations.COLUMNS), "run `make features`"
    for column, cells in columns.items():
        assert list(cells) == FEATURES, f"{column}: run `make features`"
        assert {cell["answer"] for cell in cells.values()} <= set(Support)


@pytest.mark.parametrize("delivery", CONTRACTS)
def test_file_names_the_tests_that_the_contract_has(delivery):
    for cells in observations.published()[delivery].values():
        for feature, cell in cells.items():
            tests = names_of_tests(CONTRACTS[delivery], feature)
            assert cell["tests"] == tests, "run `make features`"


@pytest.mark.parametrize("alias", observations.PLACES)
def test_backend_says_what_its_workers_showed(alias):
    """No worker runs here; the contract holds what it sees against the file."""
    features = task_backends[alias].features
    said = {feature: getattr(features, feature) for feature in FEATURES}
    assert said == {
        feature: observations.published_answer(alias, feature) for feature in FEATURES
    }, "run `make features`"


def test_page_is_made_from_the_file():
    assert observations.PAGE.read_text(encoding="utf-8") == observations.page(), (
        "docs/features.md is stale: run `python -m tests.contract.observations`"
    )


def test_table_leaves_a_place_empty_that_has_no_answer():
    lines = table({"one": {"run_after": "native"}, "other": {"run_after": "no"}})
    assert lines.splitlines()[:4] == [
        "| | one | other |",
        "|---|---|---|",
        "| run after | native | no |",
        "| priority |  |  |",
    ]


# What a run of the contract adds up to.


def report(test, outcome="passed", *answers, when="call"):
    seen = [{"alias": "a", "feature": "results", "answer": each} for each in answers]
    return pytest.TestReport(
        f"tests/contract/test_x.py::Contract::{test}",
        ("test_x.py", 1, test),
        {},
        outcome,
        None,
        when,
        user_properties=[(observations.OBSERVED, each) for each in seen],
    )


class Contract(BackendContract):
    alias = "celery_redis"


RESULTS = "test_result_tells_what_became_of_a_task"
UNKNOWN = "test_unknown_id_is_told"


@pytest.mark.parametrize(
    ("reports", "why"),
    [
        ([report(RESULTS, "passed", "no")], f"did not run and pass: {UNKNOWN}"),
        (
            [report(RESULTS, "passed", "no"), report(UNKNOWN, "failed", "no")],
            f"did not run and pass: {UNKNOWN}",
        ),
        (
            [
                report(RESULTS, "passed", "no"),
                report(UNKNOWN, "passed", "no"),
                report(f"{UNKNOWN}[other]", "skipped", when="setup"),
            ],
            f"did not run and pass: {UNKNOWN}",
        ),
        (
            [
                report(RESULTS, "passed", "no"),
                report(UNKNOWN, "passed", "no"),
                report(UNKNOWN, "failed", when="teardown"),
            ],
            f"did not run and pass: {UNKNOWN}",
        ),
        (
            [report(RESULTS, "passed"), report(UNKNOWN, "passed", "no")],
            f"did not run and pass: {RESULTS}",
        ),
        (
            [report(RESULTS, "passed", "no"), report(UNKNOWN, "passed", "bridged")],
            "its tests saw bridged and no",
        ),
    ],
    ids=["not-run", "failed", "skipped", "teardown-failed", "saw-nothing", "disagree"],
)
def test_answer_is_written_only_if_every_test_confirmed_it(reports, why):
    run = observations.Run()
    for each in reports:
        run.add(each)
    answers, missing = run.answers([Contract])
    assert answers["native"]["Celery, Redis"] == {}
    assert f"Celery, Redis, native: results: {why}" in missing


def test_answer_that_every_test_confirmed_is_written():
    run = observations.Run()
    for phase in ("setup", "call", "teardown"):
        run.add(report(RESULTS, "passed", "no", when=phase))
        run.add(report(f"{UNKNOWN}[one]", "passed", "no", when=phase))
        run.add(report(f"{UNKNOWN}[two]", "passed", "no", when=phase))
    answers, missing = run.answers([Contract])
    assert answers["native"]["Celery, Redis"] == {
        "results": {"answer": "no", "tests": [RESULTS, UNKNOWN]}
    }
    assert len(missing) == len(FEATURES) - 1


# What a test of the contract is told that saw something else.


def test_answer_that_the_file_has_is_no_complaint():
    complaint = observations.complaint("celery_redis", "recovery", {"no"}, is_new=False)
    assert complaint is None


@pytest.mark.parametrize("seen", [{"native"}, {"native", "no"}])
def test_answer_that_the_file_has_not_is_a_complaint(seen):
    complaint = observations.complaint("celery_redis", "recovery", seen, is_new=False)
    assert "docs/features.json says no: run `make features`" in complaint
    assert observations.complaint("celery_redis", "recovery", seen, is_new=True) is None


@pytest.mark.parametrize("is_new", [False, True])
def test_test_that_shows_neither_side_is_a_complaint(is_new):
    complaint = observations.complaint("celery_redis", "recovery", set(), is_new=is_new)
    assert complaint == "It has passed and shown neither side of 'recovery'."
