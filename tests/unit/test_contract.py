"""The contract itself: it leaves no feature out, and catches who says what is not."""

import inspect
from dataclasses import fields

import pytest

from taskbridge.backend import Features, Support
from taskbridge.compat import task_backends
from taskbridge.testing.contract import BackendContract
from taskbridge.testing.contract_durable import DurableContract
from taskbridge.testing.contracts import loss, timeout
from taskbridge.testing.contracts.cancelling import CancelContract
from taskbridge.testing.contracts.feature import (
    OBSERVED,
    Answer,
    FeatureContract,
    by_feature,
    feature_of,
    names_of_tests,
)
from taskbridge.testing.contracts.fixtures import ContractFixtures
from taskbridge.testing.contracts.function import AsyncTasksContract
from taskbridge.testing.contracts.loss import AtMostOnceContract, RecoveryContract
from taskbridge.testing.contracts.moment import PriorityContract, RunAfterContract
from taskbridge.testing.contracts.pausing import PauseContract
from taskbridge.testing.contracts.policy import UniqueContract
from taskbridge.testing.contracts.recycling import RecycleContract
from taskbridge.testing.contracts.results import ResultsContract
from taskbridge.testing.contracts.retries import RetriesContract
from taskbridge.testing.contracts.timeout import TimeoutContract
from taskbridge.testing.contracts.transaction import EnqueueInTransactionContract
from taskbridge.testing.contracts.waiting import WaitContract
from taskbridge.testing.memory import MemoryBackend

FEATURES = [field.name for field in fields(Features)]


# A class for each feature.


@pytest.mark.parametrize("contract", [BackendContract, DurableContract])
@pytest.mark.parametrize("feature", FEATURES)
def test_whole_contract_has_a_class_for_each_feature(contract, feature):
    assert feature in by_feature, f"no FeatureContract is for {feature!r}"
    assert issubclass(contract, by_feature[feature])
    assert names_of_tests(contract, feature)


@pytest.mark.parametrize("feature", FEATURES)
def test_each_test_of_a_feature_takes_its_answer(feature):
    for name in names_of_tests(DurableContract, feature):
        assert "answer" in inspect.signature(getattr(DurableContract, name)).parameters
        assert feature_of(DurableContract, name) == feature


def test_test_that_a_project_overrides_stays_one_of_its_feature():
    class Own(BackendContract):
        def test_unknown_id_is_told(self):
            """Not as the contract has it."""

    assert feature_of(Own, "test_unknown_id_is_told") == "results"
    assert feature_of(Own, "test_unknown_queue_is_refused") is None


@pytest.mark.parametrize(
    ("bases", "names", "message"),
    [
        ((FeatureContract,), {}, "New must name its `feature`"),
        ((FeatureContract,), {"feature": "speed"}, "Features has no field 'speed'"),
        ((FeatureContract,), {"feature": "results"}, "has ResultsContract already"),
    ],
    ids=["none", "unknown", "second"],
)
def test_contract_class_must_name_a_feature_of_its_own(bases, names, message):
    with pytest.raises(TypeError, match=message):
        type("New", bases, names)
    assert by_feature["results"] is ResultsContract


# The contract against backends that need no worker, at their limits and beyond.

NOTHING = Features(run_after=Support.NO, priority=Support.NO, async_tasks=Support.NO)
EVERYTHING = Features(**dict.fromkeys(FEATURES, Support.NATIVE))


class Incapable(MemoryBackend):
    """Says that it can nothing."""

    native_features = NOTHING


class Careless(Incapable):
    """Says so too, and refuses nothing."""

    def validate_task(self, task):
        pass


class Boaster(MemoryBackend):
    """Says that it can everything, and runs what comes at once and in its order."""

    native_features = features = EVERYTHING
    has_worker = False

    def push(self, envelopes):
        super().push(envelopes)
        if self.has_worker:
            self.run_due()

    def _next(self, queue_names):
        return next(iter(self.envelopes), None)


@pytest.fixture(autouse=True)
def backends(settings):
    options = {"QUEUES": ["default", "mail"], "OPTIONS": {"DELIVERY": "native"}}
    settings.TASKS = {
        **settings.TASKS,
        **{
            each.__name__: {"BACKEND": f"{__name__}.{each.__name__}", **options}
            for each in (Incapable, Careless, Boaster)
        },
    }


class InProcess:
    """Runs tasks here, in the place of worker processes."""

    @pytest.fixture
    def worker_environment(self):
        return {}

    @pytest.fixture
    def start_worker(self, backend):
        return lambda **_: backend.run_due()

    @pytest.fixture
    def run_burst(self, start_worker):
        return start_worker

    @pytest.fixture
    def lose_worker(self, backend, enqueue, ledger, gate):
        """The message goes with the worker that had taken it."""

        def lose(task):
            result = enqueue(task, "a", str(gate))
            backend.purge(backend.queues)
            ledger.write("a", "started")
            return result

        return lose


class TestBackendThatCanNothing(
    InProcess,
    RunAfterContract,
    PriorityContract,
    AsyncTasksContract,
    EnqueueInTransactionContract,
    RetriesContract,
    TimeoutContract,
    UniqueContract,
    AtMostOnceContract,
    ResultsContract,
    RecoveryContract,
    CancelContract,
    WaitContract,
    PauseContract,
    RecycleContract,
):
    """It keeps the contract; so the other side of each feature is tested, too."""

    alias = "Incapable"

    @pytest.fixture(autouse=True)
    def _sees_a_no(self, request, answer):
        yield
        [name] = {name for name, _ in request.node.user_properties}
        answers = {seen["answer"] for _, seen in request.node.user_properties}
        assert (name, answers) == (OBSERVED, {"no"})


class TestContractCatches(InProcess, ContractFixtures):
    """Whoever says what is not so."""

    @pytest.fixture
    def start_worker(self, backend, monkeypatch):
        """A worker that stays, and so takes what is enqueued after its start."""
        return lambda **_: monkeypatch.setattr(backend, "has_worker", True)

    @pytest.fixture
    def run_burst(self, backend):
        return lambda *_, **__: backend.run_due()

    @pytest.fixture
    def run_test(self, request, monkeypatch):
        """Run a test of a contract on a backend."""

        def run(contract, name, alias):
            monkeypatch.setattr(type(self), "alias", alias, raising=False)
            test = getattr(contract, name)
            names = [*inspect.signature(test).parameters][1:]
            given = {n: request.getfixturevalue(n) for n in names if n != "answer"}
            backend = request.getfixturevalue("backend")
            seen = []
            answer = Answer(backend, contract.feature, lambda *each: seen.append(each))
            test(self, answer=answer, **given)
            return seen

        return run

    @pytest.mark.parametrize(
        ("contract", "name"),
        [
            (contract, name)
            for contract in (
                *(RunAfterContract, PriorityContract, AsyncTasksContract),
                *(RetriesContract, TimeoutContract, UniqueContract),
                AtMostOnceContract,
            )
            for name in names_of_tests(contract, contract.feature)
        ],
    )
    def test_backend_that_takes_what_it_says_it_cannot_do(
        self, run_test, contract, name
    ):
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            run_test(contract, name, "Careless")

    @pytest.mark.parametrize(
        ("contract", "name", "error", "message"),
        [
            (
                RunAfterContract,
                "test_delayed_task_is_not_early",
                AssertionError,
                "'later', 'now'",
            ),
            (
                PriorityContract,
                "test_higher_priority_runs_first",
                AssertionError,
                "'-100', '0'",
            ),
            (
                EnqueueInTransactionContract,
                "test_task_shares_the_fate_of_its_transaction",
                AssertionError,
                "1 == 0",
            ),
            (
                TimeoutContract,
                "test_attempt_that_takes_too_long_is_stopped",
                AssertionError,
                "'go_on': 1",
            ),
            (
                UniqueContract,
                "test_unique_is_refused_by_name",
                pytest.fail.Exception,
                "no test of the supported side yet: add one to UniqueContract",
            ),
            (
                AtMostOnceContract,
                "test_task_that_asks_for_it_never_starts_twice",
                NotImplementedError,
                "keeps no results",
            ),
            (
                ResultsContract,
                "test_unknown_id_is_told",
                NotImplementedError,
                "keeps no results",
            ),
            (
                RecoveryContract,
                "test_task_of_a_killed_worker_runs_again",
                AssertionError,
                "in vain until the task has run again",
            ),
            (
                CancelContract,
                "test_task_that_asks_whether_it_is_cancelled_is_told",
                AssertionError,
                "keeps no records",
            ),
            (
                WaitContract,
                "test_result_is_waited_for",
                NotImplementedError,
                "keeps no records",
            ),
            (
                PauseContract,
                "test_paused_queue_waits_while_another_goes_on",
                NotImplementedError,
                "has native delivery",
            ),
            (
                RecycleContract,
                "test_process_is_replaced_after_max_tasks",
                AssertionError,
                "1 >= 4",
            ),
        ],
    )
    def test_backend_that_boasts(
        self, run_test, monkeypatch, contract, name, error, message
    ):
        monkeypatch.setattr(loss, "LATEST_S", 0.1)
        monkeypatch.setattr(timeout, "FOREVER_S", 1)
        with pytest.raises(error, match=message):
            run_test(contract, name, "Boaster")


@pytest.mark.parametrize(
    ("alias", "confirm", "message"),
    [
        ("Incapable", Answer.confirm_yes, "has recovery, but says no"),
        ("Boaster", Answer.confirm_no, "has no recovery, but says it has"),
    ],
)
def test_side_that_the_backend_does_not_name_cannot_be_confirmed(
    alias, confirm, message
):
    seen = []
    answer = Answer(task_backends[alias], "recovery", lambda *each: seen.append(each))
    with pytest.raises(AssertionError, match=message):
        confirm(answer)
    assert seen == []
