"""docs/features.json: what the contract saw each backend do, in real workers.

`make features` writes it, and makes docs/features.md from it.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from taskbridge.features import Features, table
from taskbridge.testing.contracts.feature import OBSERVED, names_of_tests

DOCS = Path(__file__).parents[2] / "docs"
FILE = DOCS / "features.json"
PAGE = DOCS / "features.md"

LIBRARIES = ("celery", "django-q2", "django-background-tasks")
COLUMNS = {
    "Celery, Redis": "celery_redis",
    "Celery, RabbitMQ": "celery_rabbitmq",
    "Django-Q2, Redis": "django_q_redis",
    "Django-Q2, ORM": "django_q_orm",
    "background-tasks": "background_tasks",
}
PREFIXES = {"durable": "durable_", "native": ""}
PLACES = {
    prefix + alias: (delivery, column)
    for delivery, prefix in PREFIXES.items()
    for column, alias in COLUMNS.items()
}
"""For each alias the delivery and the column of its answers."""

HEAD = """\
# What each backend can do

"native": the library does it; "bridged": TaskBridge does, on top of it; "no": asking
for it is refused by name (a task, by an `InvalidTask`; `get_result`, `cancel`, `wait`
and `pause`, by a `NotImplementedError`; `--max-tasks` and `--max-memory`, by the
command), and where nobody asks, as in a transaction or when a worker is killed, the
task has to do without. Nothing is accepted and then ignored.

The tables are made from [`features.json`](features.json), which the tests of the
[contract](../taskbridge/testing/contract.py) write. An answer stands there only if each
test of that feature has run on that queue and passed: a yes was seen in real worker
processes; a no was refused, or its lack was seen. That it works is what was seen;
whether the library or TaskBridge does it is what the adapter says. `make features` does
it again."""

Answers = dict[str, dict[str, dict[str, Any]]]
"""By delivery, column and feature: `answer`, and the `tests` that showed it."""


class Run:
    """The reports of one run of the contract, and what they add up to."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._failed: set[tuple[str, str]] = set()

    def add(self, report: pytest.TestReport) -> None:
        """Take the report of a phase of a test."""
        _, _, place = report.nodeid.partition("::")
        contract, _, test = place.partition("::")
        key = (contract, test.partition("[")[0])
        if not report.passed:
            self._failed.add(key)
        elif report.when == "call":
            self._seen[key].update(seen["answer"] for seen in observed(report))

    def answers(self, contracts: Iterable[type]) -> tuple[Answers, list[str]]:
        """Return what was confirmed, and what was not, in words."""
        answers: Answers = {delivery: {} for delivery in PREFIXES}
        missing = []
        for contract in contracts:
            delivery, column = PLACES[contract.alias]
            cells = answers[delivery][column] = {}
            for field in fields(Features):
                tests = names_of_tests(contract, field.name)
                seen = self._confirmed(contract.__name__, tests)
                if isinstance(seen, str):
                    missing.append(f"{column}, {delivery}: {field.name}: {seen}")
                else:
                    [answer] = seen
                    cells[field.name] = {"answer": answer, "tests": tests}
        return answers, missing

    def _confirmed(self, contract: str, tests: list[str]) -> set[str] | str:
        """Return the one answer that all tests confirmed, or why there is none."""
        keys = [(contract, test) for test in tests]
        lacking = [
            test
            for _, test in keys
            if (contract, test) in self._failed or not self._seen[contract, test]
        ]
        if lacking or not tests:
            return f"did not run and pass: {', '.join(lacking) or 'any test'}"
        seen = set.union(*(self._seen[key] for key in keys))
        if len(seen) > 1:
            return f"its tests saw {' and '.join(sorted(seen))}"
        return seen


def observed(report: pytest.TestReport | pytest.Item) -> Iterator[dict[str, str]]:
    """Yield what a test said that it has seen."""
    for name, value in report.user_properties:
        if name == OBSERVED:
            assert isinstance(value, dict)
            yield value


def write(answers: Answers) -> None:
    """Write the file; nothing in it changes from run to run but what was seen."""
    found = {"libraries": {name: version(name) for name in LIBRARIES}, **answers}
    FILE.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


@cache
def published() -> dict[str, Any]:
    """Return what the file says."""
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def published_answer(alias: str, feature: str) -> str | None:
    """Return the file's answer; None: it has none."""
    delivery, column = PLACES[alias]
    cell = published()[delivery].get(column, {}).get(feature)
    return cell and cell["answer"]


def complaint(
    alias: str, feature: str, seen: Collection[str], *, is_new: bool
) -> str | None:
    """Return what is wrong with the answers that a test saw and passed with.

    Args:
        is_new: whether they will be written, so that the file need not have them.
    """
    if not seen:
        return f"It has passed and shown neither side of {feature!r}."
    if is_new or set(seen) == {said := published_answer(alias, feature)}:
        return None
    return (
        f"Of {feature!r} it saw {' and '.join(sorted(seen))}, and docs/features.json "
        f"says {said}: run `make features`."
    )


def page() -> str:
    """Return docs/features.md as the file wants it."""
    libraries = ", ".join(
        f"{name} {number}" for name, number in published()["libraries"].items()
    )
    parts = [f"{HEAD} Seen with {libraries}."]
    for delivery in PREFIXES:
        answers = {
            column: {feature: cell["answer"] for feature, cell in cells.items()}
            for column, cells in published()[delivery].items()
        }
        parts += [f"## In {delivery} delivery", table(answers)]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
