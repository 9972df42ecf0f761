"""What a supervisor sees of the tasks below it."""

import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from taskbridge.pulse import Pulse
from taskbridge.testing.harness import wait_until


@pytest.fixture
def pulse(request: pytest.FixtureRequest) -> Iterator[Pulse]:
    """Of a worker with as many processes as the test says."""
    pulse = Pulse(request.param)
    yield pulse
    pulse.close()


def _in_child(function: Callable[[], object]) -> int:
    """Fork a process that calls a function and stays; return its id."""
    pid = os.fork()
    if pid == 0:
        try:
            function()
            time.sleep(60)
        finally:
            os._exit(1)
    return pid


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


@pytest.mark.parametrize("pulse", [2], indirect=True)
def test_pulse_tells_what_runs_and_when_something_was_taken(pulse: Pulse) -> None:
    assert (pulse.taken_at, pulse.running, pulse.has_room) == (0.0, 0, True)

    before = time.monotonic()
    pids = [_in_child(pulse.begin) for _ in range(2)]
    try:
        wait_until(lambda: pulse.running == 2, "both run")
        assert before <= pulse.taken_at <= time.monotonic()
        assert not pulse.has_room
    finally:
        for pid in pids:
            _end(pid)


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_process_that_is_killed_runs_nothing(pulse: Pulse) -> None:
    pid = _in_child(pulse.begin)
    try:
        wait_until(lambda: pulse.running == 1, "it runs")
    finally:
        _end(pid)

    assert pulse.running == 0
    assert pulse.has_room


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_task_that_has_ended_leaves_its_place(pulse: Pulse) -> None:

    def twice() -> None:
        for _ in range(2):
            pulse.begin()
            pulse.begin()  # by the library's signal and by ours
            pulse.end()
            pulse.end()

    pid = _in_child(twice)
    try:
        wait_until(lambda: pulse.taken_at, "it has begun")
        wait_until(lambda: pulse.running == 0, "it has ended")
    finally:
        _end(pid)
