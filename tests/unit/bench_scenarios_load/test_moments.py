"""The moments of an open load, and what is sent at them."""

import itertools
import statistics
import time

import pytest

from taskbridge_bench.scenarios import load


def test_poisson_moments_have_the_rate_and_the_spread_of_chance() -> None:
    moments = load.poisson("seed", 500, 20)

    assert moments == sorted(moments)
    assert moments[-1] < 20
    assert len(moments) == pytest.approx(10_000, rel=0.05)
    gaps = [after - before for before, after in itertools.pairwise(moments)]
    # As of an exponential distribution; the deviation of even gaps would be 0.
    assert statistics.stdev(gaps) == pytest.approx(statistics.mean(gaps), rel=0.1)


def test_poisson_moments_follow_from_the_seed() -> None:
    assert load.poisson("a", 50, 2) == load.poisson("a", 50, 2)
    assert load.poisson("a", 50, 2) != load.poisson("b", 50, 2)


def test_poisson_of_a_tiny_rate_has_one_moment() -> None:
    assert len(load.poisson("seed", 1e-6, 1)) == 1


def test_even_load_has_a_moment_in_each_strip_but_no_rhythm() -> None:
    moments = load.evenly("seed", 10, 6)

    assert [int(moment * 10) for moment in moments] == list(range(60))
    assert len({round(moment * 10 % 1, 3) for moment in moments}) > 50


def test_send_keeps_the_intended_times_when_a_call_stalls() -> None:
    def call(key: int) -> None:
        if key == 1:
            time.sleep(0.2)

    sent = load.send([0, 0.01, 0.02, 0.03, 0.3], call, give_up_s=5)

    planned = [moment - sent.start for moment in sent.intended]
    assert planned == pytest.approx([0, 0.01, 0.02, 0.03, 0.3])
    assert 0.18 < sent.late[3] < sent.late[2] < 0.3
    assert sent.late[4] < 0.1
    assert sent.rate == pytest.approx(5 / 0.3, rel=0.3)


def test_send_gives_up_and_keeps_what_was_intended() -> None:
    sent = load.send([0, 0.01, 0.02], lambda _: time.sleep(0.1), give_up_s=0.05)

    assert len(sent.called) == 1
    assert len(sent.intended) == 3
