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


ID = "0123456789abcdef" * 2


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_pulse_tells_which_function_a_process_is_in(pulse: Pulse) -> None:

    def call() -> None:
        pulse.begin()
        pulse.note_call(ID, "+token", 7.5)

    before = time.monotonic()
    pid = _in_child(call)
    try:
        wait_until(pulse.calls, "it is called")
        [found] = pulse.calls()
        assert (found.pid, found.record_id, found.token) == (pid, ID, "+token")
        assert before <= found.began <= time.monotonic()
        assert found.kill_at == found.began + 7.5
        assert pulse.is_current(found)
    finally:
        _end(pid)

    assert not pulse.is_current(found)
    assert pulse.calls() == []


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_call_is_no_longer_current_when_the_next_has_begun(pulse: Pulse) -> None:

    def call() -> None:
        pulse.begin()
        pulse.note_call(ID, "first", 7.5)
        signal.pause()
        pulse.note_return()
        pulse.note_call(ID, "second", 7.5)

    def go_on(*_: object) -> None:
        pass

    previous = signal.signal(signal.SIGUSR1, go_on)
    pid = _in_child(call)
    try:
        wait_until(pulse.calls, "the first is called")
        [first] = pulse.calls()

        def is_second() -> bool:
            os.kill(pid, signal.SIGUSR1)
            return [each.token for each in pulse.calls()] == ["second"]

        wait_until(is_second, "the second is called")
        [second] = pulse.calls()
        assert not pulse.is_current(first)
        assert pulse.is_current(second)
    finally:
        signal.signal(signal.SIGUSR1, previous)
        _end(pid)


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_what_a_killed_process_was_in_is_not_taken_for_that_of_the_next(
    pulse: Pulse,
) -> None:

    def call(token: str) -> None:
        pulse.begin()
        pulse.note_call(ID, token, 7.5)

    pid = _in_child(lambda: call("first"))
    wait_until(pulse.calls, "the first is called")
    [first] = pulse.calls()
    _end(pid)
    pid = _in_child(lambda: call("second"))
    try:
        wait_until(lambda: pulse.calls() not in ([], [first]), "the second is called")
        [second] = pulse.calls()
        assert second.place == first.place
        assert not pulse.is_current(first)
        assert pulse.is_current(second)
    finally:
        _end(pid)


@pytest.mark.parametrize("pulse", [1], indirect=True)
def test_process_that_returned_is_in_no_function(pulse: Pulse) -> None:

    def call() -> None:
        pulse.begin()
        pulse.note_call(ID, "token", 7.5)
        pulse.note_return()

    pid = _in_child(call)
    try:
        wait_until(lambda: pulse.running == 1, "it runs")
        wait_until(lambda: not pulse.calls(), "it has returned")
    finally:
        _end(pid)
