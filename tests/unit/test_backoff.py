"""`exponential` and `linear`."""

import pickle
from datetime import timedelta
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskbridge import exponential, linear


def wait(backoff, attempts):
    return backoff(OSError(), SimpleNamespace(attempts=attempts))


def test_exponential_doubles_up_to_its_cap():
    backoff = exponential(base=2, cap=10, jitter=0)
    assert [wait(backoff, n) for n in (1, 2, 3, 4, 5000)] == [2, 4, 8, 10, 10]


def test_linear_adds_up_to_its_cap():
    backoff = linear(step=3, cap=8, jitter=0)
    assert [wait(backoff, n) for n in (1, 2, 3, 9)] == [3, 6, 8, 8]


def test_times_may_be_timedeltas():
    minute = timedelta(minutes=1)
    assert exponential(cap=minute) == exponential(cap=60)
    assert linear(step=minute, cap=3 * minute) == linear(step=60, cap=180)


@given(
    attempts=st.integers(1, 10_000),
    base=st.floats(1, 100),
    cap=st.floats(0, 1e6),
    jitter=st.floats(0, 1),
)
def test_jitter_stays_within_its_fraction_of_the_cap(attempts, base, cap, jitter):
    seconds = wait(exponential(base=base, cap=cap, jitter=jitter), attempts)
    assert 0 <= seconds <= cap * (1 + jitter) * (1 + 1e-9)


@pytest.mark.parametrize("backoff", [exponential(base=3), linear(step=2)])
def test_backoff_is_a_value(backoff):
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert hash(pickle.loads(pickle.dumps(backoff))) == hash(backoff)


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (exponential, {"base": 0.5}, r"exponential\(\): base must be at least 1"),
        (exponential, {"cap": -1}, "cap must be at least 0"),
        (exponential, {"jitter": 2}, "jitter must be from 0 to 1"),
        (exponential, {"cap": float("nan")}, "cap must be at least 0"),
        (linear, {"step": -1}, r"linear\(\): step must be at least 0"),
    ],
)
def test_option_out_of_range_is_refused(make, options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
