"""Holds what the contract sees against docs/features.json, or writes it there."""

import os
from collections.abc import Generator

import pytest

from taskbridge.testing.contract import BackendContract
from taskbridge.testing.contracts.feature import feature_of
from tests.contract import observations

IS_WRITTEN = "TASKBRIDGE_WRITE_FEATURES" in os.environ
"""Set by `make features`."""


def pytest_configure(config: pytest.Config) -> None:
    # Not in the processes of xdist: reports of all of them come to the one that started
    # them.
    if IS_WRITTEN and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Writer())


class Writer:
    """Writes docs/features.json at the end of a run, and says what it lacks."""

    def __init__(self) -> None:
        self._run = observations.Run()
        self._missing: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._run.add(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        from tests.contract import test_backends

        contracts = [
            each
            for each in vars(test_backends).values()
            if isinstance(each, type)
            and issubclass(each, BackendContract)
            and getattr(each, "alias", None) in observations.PLACES
        ]
        answers, self._missing = self._run.answers(contracts)
        observations.write(answers)
        if self._missing:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        terminalreporter.section("features")
        for line in self._missing:
            terminalreporter.line(f"Not written: {line}")
        terminalreporter.line(f"Written: {observations.FILE}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Fail a test of a feature that saw nothing, or what the file does not say."""
    yield
    cls = getattr(item, "cls", None)
    feature = feature_of(cls, item.originalname) if cls else None
    if feature is None or cls.alias not in observations.PLACES:
        return
    seen = {each["answer"] for each in observations.observed(item)}
    complaint = observations.complaint(cls.alias, feature, seen, is_new=IS_WRITTEN)
    if complaint:
        pytest.fail(complaint)
