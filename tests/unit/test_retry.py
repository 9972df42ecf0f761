"""The one decision about a failed attempt: a pure function."""

from datetime import timedelta
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbridge import Retry, exponential, linear
from taskbridge.compat import TaskResult, TaskResultStatus
from taskbridge.policy import Policy, decide, longest_delay, policy_of
from tests.unit import sample_tasks

policy_with = partial(Policy, max_attempts=3, backoff=1)


def result_after(attempts, task=sample_tasks.add):
    return TaskResult(
        task=task,
        id="1",
        status=TaskResultStatus.RUNNING,
        enqueued_at=None,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=[],
        kwargs={},
        backend="default",
        errors=[],
        worker_ids=["w"] * attempts,
    )


seconds = st.floats(min_value=0, max_value=1e6)
exceptions = st.sampled_from(
    [ValueError(), KeyError(), OSError(), SystemExit(), KeyboardInterrupt(), Retry(5)]
)
types = st.lists(
    st.sampled_from([ValueError, LookupError, Exception, BaseException, OSError])
).map(tuple)
backoffs = (
    seconds
    | st.lists(seconds, min_size=1).map(tuple)
    | st.sampled_from([exponential(), linear(), exponential(jitter=1, cap=0)])
    | seconds.map(lambda s: lambda exc, result: s)
    | st.just(lambda exc, result: None)
)
policies = st.builds(
    Policy,
    max_attempts=st.none() | st.integers(1, 50),
    backoff=backoffs,
    retry_on=types,
    discard_on=types,
)


@given(policies, exceptions, st.integers(1, 60))
def test_attempts_are_bounded_and_delays_are_seconds(policy, exception, attempts):
    delay = decide(policy, exception, result_after(attempts))
    if policy.max_attempts is not None and attempts >= policy.max_attempts:
        assert delay is None
    assert delay is None or 0 <= delay < float("inf")


@given(policies, exceptions, st.integers(1, 60))
def test_discard_wins_and_only_what_is_named_is_retried(policy, exception, attempts):
    delay = decide(policy, exception, result_after(attempts))
    if isinstance(exception, policy.discard_on) or not isinstance(
        exception, (*policy.retry_on, Retry)
    ):
        assert delay is None


@given(policies, seconds, st.integers(1, 60))
def test_retry_says_when_itself(policy, after, attempts):
    delay = decide(policy, Retry(after=after), result_after(attempts))
    limit = policy.max_attempts
    is_last = limit is not None and attempts >= limit
    assert delay == (
        None if is_last or isinstance(Retry(), policy.discard_on) else after
    )


@pytest.mark.parametrize(
    ("backoff", "delays"),
    [
        (7, [7, 7, 7]),
        ((1, 10), [1, 10, 10]),
        (exponential(base=3, cap=20, jitter=0), [3, 9, 20]),
        (linear(step=4, cap=10, jitter=0), [4, 8, 10]),
        (lambda exc, result: result.attempts * 2, [2, 4, 6]),
        (lambda exc, result: None, [None, None, None]),
        (lambda exc, result: timedelta(minutes=result.attempts), [60, 120, 180]),
    ],
)
def test_backoff_has_every_form(backoff, delays):
    policy = policy_with(backoff=backoff, max_attempts=9)
    found = [decide(policy, ValueError(), result_after(n)) for n in (1, 2, 3)]
    assert found == delays


def test_policy_without_a_limit_never_ends():
    policy = policy_with(max_attempts=None)
    assert decide(policy, ValueError(), result_after(1_000_000)) == 1


def test_backoff_sees_the_exception():
    policy = policy_with(backoff=lambda exc, result: 60 if "busy" in str(exc) else 1)
    assert decide(policy, OSError("busy"), result_after(1)) == 60
    assert decide(policy, OSError("away"), result_after(1)) == 1


def test_retry_without_time_follows_the_backoff():
    assert decide(policy_with(backoff=9), Retry(), result_after(1)) == 9


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "soon", True])
def test_backoff_that_returns_no_seconds_is_an_error(wrong):
    policy = policy_with(backoff=lambda exc, result: wrong)
    with pytest.raises(
        ValueError,
        match=r"backoff of task 'tests.unit.sample_tasks.add' must be seconds",
    ):
        decide(policy, ValueError(), result_after(1))


@pytest.mark.parametrize("wrong", [-1, float("nan"), timedelta(seconds=-1), "soon"])
def test_retry_after_must_be_seconds(wrong):
    with pytest.raises(ValueError, match=r"Retry\(after=...\) must be seconds"):
        Retry(after=wrong)


def test_retry_takes_a_timedelta():
    assert Retry(after=timedelta(minutes=1)).after == 60


def test_plain_django_task_is_never_retried():
    assert decide(policy_of(sample_tasks.plain), ValueError(), result_after(1)) is None


@pytest.mark.parametrize(
    ("backoff", "longest"),
    [
        (7, 7),
        ((1, 10, 2), 10),
        (exponential(cap=100, jitter=0.5), 150),
        (linear(cap=10, jitter=0), 10),
        (lambda exc, result: 1, None),
    ],
)
def test_longest_delay_is_known_before(backoff, longest):
    assert longest_delay(backoff) == longest
