"""Options of a task's policy that no backend has to support.

A backend that does not support one refuses the task by name, whether the task is its
own or comes from a backend that does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from taskbridge.testing import tasks
from taskbridge.testing.ledger import Ledger

from .feature import Answer, FeatureContract


class UniqueContract(FeatureContract):
    """A second task under the same key is refused."""

    feature = "unique"

    def test_unique_is_refused_by_name(self, answer: Answer, ledger: Ledger) -> None:
        """The supported side has no test yet, and fails by that."""
        answer.fail_for_want_of_a_test()
        check_refused(answer, self.alias, ledger, unique="record:{key}")


def check_refused(answer: Answer, alias: str, ledger: Ledger, **policy: Any) -> None:
    """Check that an option of the policy is refused by name, and nothing is queued."""
    [(option, value)] = policy.items()
    match = f"cannot honour {option}={value!r}"
    with answer.refused(match):
        own = replace(tasks.record, backend=alias, **policy)
        own.enqueue(str(ledger.path), "own")
    elsewhere = replace(tasks.record)
    object.__setattr__(elsewhere, option, value)  # as if its backend had taken it
    with answer.refused(match):
        elsewhere.using(backend=alias).enqueue(str(ledger.path), "elsewhere")
