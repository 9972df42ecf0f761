"""`FeatureContract`, one for each field of `Features`, and the `Answer` it confirms."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any, ClassVar

import pytest

from taskbridge.backend import Backend, Features, Support
from taskbridge.compat import InvalidTask, task_enqueued
from taskbridge.handles import TaskResult

from .fixtures import ContractFixtures

OBSERVED = "taskbridge_feature"
"""The property of a test's report for each answer that it confirmed: a dict of `alias`,
`feature` and `answer`."""

by_feature: dict[str, type[FeatureContract]] = {}
"""The contract class of each feature."""


class Answer:
    """What a backend answers about one feature, until a test has confirmed it.

    Each test of a feature ends by confirming the answer, whether yes or no.
    """

    def __init__(
        self, backend: Backend, feature: str, record: Callable[[str, object], None]
    ) -> None:
        self._backend = backend
        self._feature = feature
        self._record = record
        self._support = Support(getattr(backend.features, feature))

    @property
    def is_no(self) -> bool:
        """Whether the backend says that it cannot."""
        return self._support is Support.NO

    def confirm_yes(self) -> None:
        """Say that the backend was seen to do it."""
        assert not self.is_no, f"{self._backend} has {self._feature}, but says no."
        self._confirm()

    def confirm_no(self) -> None:
        """Say that the backend was seen not to do it."""
        assert self.is_no, f"{self._backend} has no {self._feature}, but says it has."
        self._confirm()

    @contextlib.contextmanager
    def refused(self, match: str) -> Iterator[None]:
        """Expect an InvalidTask that matches, and nothing queued; confirms the no."""
        enqueued: list[str] = []

        def receive(sender: object, task_result: TaskResult[Any], **_: object) -> None:
            enqueued.append(task_result.id)

        task_enqueued.connect(receive)
        try:
            with pytest.raises(InvalidTask, match=match):
                yield
        finally:
            task_enqueued.disconnect(receive)
        assert enqueued == []
        assert self._backend.purge(self._backend.queues) == 0  # it counts delayed ones
        self.confirm_no()

    def fail_for_want_of_a_test(self) -> None:
        """Fail if a backend says that it can, which the contract cannot test yet."""
        if not self.is_no:
            pytest.fail(
                f"{self._backend} says {self._support} to {self._feature}, and the "
                f"contract has no test of the supported side yet: add one to "
                f"{by_feature[self._feature].__qualname__}, in which a worker shows it."
            )

    def _confirm(self) -> None:
        self._record(
            OBSERVED,
            {
                "alias": self._backend.alias,
                "feature": self._feature,
                "answer": self._support.value,
            },
        )


class FeatureContract(ContractFixtures):
    """What a backend must do if it has a feature, and what if it has not.

    A subclass names a field of `Features`. Each of its tests takes `answer`. If the
    backend has the feature, a worker shows it. If not, a task that asks for it is
    refused by name; for a feature that no task asks for, a worker shows its absence.
    """

    feature: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        feature = vars(cls).get("feature")
        if feature is None:
            if FeatureContract in cls.__bases__:
                raise TypeError(f"{cls.__name__} must name its `feature`.")
            return  # it combines several
        if feature not in {field.name for field in fields(Features)}:
            raise TypeError(f"{cls.__name__}: Features has no field {feature!r}.")
        if not issubclass(cls, by_feature.setdefault(feature, cls)):
            raise TypeError(
                f"{cls.__name__}: {feature!r} has {by_feature[feature].__name__} "
                f"already. Add the tests to it, or subclass it."
            )

    @pytest.fixture
    def answer(
        self,
        request: pytest.FixtureRequest,
        backend: Backend,
        record_property: Callable[[str, object], None],
    ) -> Answer:
        """What the backend says about the feature of this test."""
        feature = feature_of(type(self), request.function.__name__)
        assert feature, f"{request.function.__qualname__} is about no feature."
        return Answer(backend, feature, record_property)


def feature_of(contract: type, test: str) -> str | None:
    """Return the feature that a test of a contract is about, or None."""
    # Not by inheritance: a whole contract inherits from the classes of all features.
    for each in contract.__mro__:
        if test in vars(each) and "feature" in vars(each):
            return str(vars(each)["feature"])
    return None


def names_of_tests(contract: type, feature: str) -> list[str]:
    """Return the names of the tests of a contract that are about a feature."""
    return sorted(
        {
            name
            for each in contract.__mro__
            if vars(each).get("feature") == feature
            for name in vars(each)
            if name.startswith("test_")
        }
    )
