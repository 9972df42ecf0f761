"""What a `timeout` raises in the function of a task, and what it leaves alone."""

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import threading
import time

import pytest

import taskbridge
from taskbridge import TaskTimeout
from taskbridge.attempt import drop_handlers, limit
from taskbridge.attempt.limit import call_within, uninterrupted, within
from taskbridge.exceptions import WorkerFailed

FOREVER_S = 600

# By default it uses SIGALRM itself.
pytestmark = pytest.mark.timeout(method="thread")


@pytest.fixture(autouse=True)
def _alarm_is_as_it_was():
    yield
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def receive():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.recv(1)


def wait_for_lock():
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


@pytest.mark.parametrize(
    "function", [lambda: time.sleep(FOREVER_S), receive, wait_for_lock]
)
def test_call_that_blocks_is_interrupted(function):
    with pytest.raises(TaskTimeout, match="too long"):
        within(0.05, "too long", function)


def test_timeout_is_raised_once_and_cleaning_up_may_take_its_time():

    def clean_up():
        try:
            time.sleep(FOREVER_S)
        except TaskTimeout:
            time.sleep(5 * limit.AGAIN_AFTER_S)
            return "cleaned up"

    assert within(0.05, "", clean_up) == "cleaned up"


def test_alarm_before_the_function_is_repeated_in_it():
    with pytest.raises(TaskTimeout):
        within(1e-6, "", lambda: time.sleep(FOREVER_S))  # it may come before the call


def test_alarm_after_the_function_has_returned_is_passed_over():
    """A thousand times about when the function returns: it ends in one of two ways."""
    ended = {"returned": 0, "interrupted": 0}

    def busy(until):
        while time.monotonic() < until:
            pass
        return "returned"

    for _ in range(1000):
        try:
            how = within(0.001, "", busy, time.monotonic() + 0.001)
        except TaskTimeout as exc:
            how = "interrupted"
            frames = []
            traceback = exc.__traceback__
            while traceback:
                frames.append(traceback.tb_frame.f_code.co_name)
                traceback = traceback.tb_next
            assert "busy" in frames
        ended[how] += 1
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    assert sum(ended.values()) == 1000


class _Last:
    """Sends SIGALRM when something is added to it, and Python does not hear of it yet.

    No other way: Python looks for signals after each call of a function.
    """

    __add__ = staticmethod(getattr(ctypes.PyDLL(None), "raise"))


@taskbridge.task(backend="durable_default", timeout=FOREVER_S)
def hear_the_alarm_last() -> int:
    return _Last() + signal.SIGALRM


def test_alarm_after_the_last_operation_of_a_task_is_passed_over():
    assert call_within(hear_the_alarm_last, FOREVER_S) == 0


def test_limit_that_the_system_refuses_leaves_nothing_behind():
    with pytest.raises(OverflowError):
        within(1e100, "", lambda: "done")
    # What else is to be as it was is asked after each test.


def test_timeout_is_raised_after_a_block_that_is_not_interrupted():
    """A client of a broker takes it for a trouble of its connection."""
    troubles = []

    def push():
        with uninterrupted():
            try:
                time.sleep(0.2)
            except OSError as exc:
                troubles.append(exc)
        time.sleep(FOREVER_S)

    with pytest.raises(TaskTimeout):
        within(0.05, "", push)
    assert troubles == []


class _SlowAtFirst:
    """A stream."""

    pause_s = 0.2

    def write(self, text):
        time.sleep(self.pause_s)
        self.pause_s = 0


def test_timeout_is_not_lost_in_logging():
    """It would be reported as an error of the handler, and the function would go on."""
    logger = logging.getLogger("of a task")
    logger.setLevel("INFO")
    logger.propagate = False
    logger.addHandler(logging.StreamHandler(_SlowAtFirst()))

    def log():
        for _ in range(200):
            logger.info("something")
            time.sleep(0.01)

    with pytest.raises(TaskTimeout):
        within(0.05, "", log)
    heard = threading.Thread(target=logger.info, args=("of another thread",))
    heard.start()
    heard.join(60)
    assert not heard.is_alive()  # no lock was left behind


def test_process_that_the_function_forks_has_the_usual_handler():

    def fork():
        if (pid := os.fork()) == 0:
            drop_handlers()  # as the hooks of a worker do
            os._exit(signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    assert within(FOREVER_S, "", within, FOREVER_S, "", fork) == 0


def test_handler_and_timer_of_somebody_else_are_given_back():
    heard = []

    def on_alarm(*_):
        heard.append("theirs")

    signal.signal(signal.SIGALRM, on_alarm)
    try:
        signal.setitimer(signal.ITIMER_REAL, FOREVER_S, 7)
        assert within(FOREVER_S, "", lambda: "done") == "done"
        assert signal.getsignal(signal.SIGALRM) is on_alarm
        left_s, interval_s = signal.getitimer(signal.ITIMER_REAL)
        assert left_s == pytest.approx(FOREVER_S, abs=60)
        assert interval_s == pytest.approx(7)
        signal.setitimer(signal.ITIMER_REAL, 0.001)
        within(FOREVER_S, "", time.sleep, 0.05)  # theirs is due meanwhile
        while not heard:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)


def test_alarm_that_a_task_before_has_blocked_is_heard():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        with pytest.raises(TaskTimeout):
            within(0.05, "", lambda: time.sleep(FOREVER_S))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})


@taskbridge.task(backend="durable_default", timeout=0.05)
def sleep() -> None:
    time.sleep(FOREVER_S)


def test_function_in_a_thread_is_refused():
    raised = []

    def call():
        try:
            call_within(sleep, 0.05)
        except WorkerFailed as exc:
            raised.append(str(exc))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    [words] = raised
    assert f"{sleep.module_path!r} has timeout=0.05, which cannot be kept" in words


@taskbridge.task(backend="durable_default", timeout=0.05)
async def sleep_async() -> None:
    await asyncio.sleep(FOREVER_S)


def test_coroutine_function_is_cancelled_in_any_thread():
    raised = []

    def call():
        try:
            call_within(sleep_async, 0.05)
        except TaskTimeout as exc:
            raised.append(str(exc))

    call()
    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    words = f"Task {sleep_async.module_path!r} took longer than its timeout, 0.05 s."
    assert raised == [words, words]


@taskbridge.task(backend="durable_default", timeout=FOREVER_S)
async def time_out_by_itself() -> None:
    async with asyncio.timeout(0.01):
        await asyncio.sleep(FOREVER_S)


def test_timeout_of_the_task_itself_is_not_ours():
    with pytest.raises(TimeoutError) as caught:
        call_within(time_out_by_itself, FOREVER_S)
    assert not isinstance(caught.value, TaskTimeout)


@taskbridge.task(backend="durable_default", timeout=0.05)
async def swallow_cancellation() -> str:
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(FOREVER_S)
    return "cleaned up"


def test_coroutine_that_swallows_its_cancellation_succeeds():
    assert call_within(swallow_cancellation, 0.05) == "cleaned up"
