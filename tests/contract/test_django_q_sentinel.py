"""What passes between the processes of Django-Q2's cluster, past what is not needed."""

import threading
import time
from ctypes import c_byte
from multiprocessing import RawValue, get_context
from typing import Any

import pytest
from django_q.signals import post_execute

from taskbridge.execution import run
from taskbridge.recycling import Limits, count_task, limit
from taskbridge_django_q.joining import NATIVE_TASK
from taskbridge_django_q.sentinel import _Results, _Tasks, _Timer

STAYS, ENDS = -1, -2
DONE = {"success": True, "save": False, "ack_id": None}


def tasks_of(queue, *, stopping=0):
    return _Tasks(queue, _Timer(), RawValue(c_byte, stopping))


@pytest.fixture
def worn():
    """This process has run as many tasks as it may."""
    limit(Limits(max_tasks=1))
    count_task()
    yield
    limit(Limits())


class Queue(list[Any]):
    put = list.append
    get = list.pop


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, False),
        ({"ack_id": 7}, True),
        ({"success": False}, True),
        ({"save": True}, True),
        ({"cached": 60}, True),
    ],
)
def test_result_passes_if_the_monitor_has_to_do_something(change, passes):
    queue = Queue()
    task = {**DONE, **change}
    _Results(queue).put(task)
    assert queue == ([task] if passes else [])


def test_result_without_a_word_about_saving_passes():
    queue = Queue()
    _Results(queue).put({"success": True, "ack_id": None})
    assert queue


def test_result_passes_if_somebody_listens():
    def listen(**kwargs: object) -> None:
        pass

    queue = Queue()
    post_execute.connect(listen)
    try:
        _Results(queue).put(DONE)
    finally:
        post_execute.disconnect(listen)
    assert queue == [DONE]


def test_our_function_is_not_looked_up_for_each_task():
    other = {"func": "math.sqrt"}
    tasks = tasks_of(Queue(["STOP", other, {"func": NATIVE_TASK}]))
    assert [tasks.get() for _ in range(3)] == [{"func": run}, other, "STOP"]


@pytest.mark.usefixtures("worn")
def test_process_that_has_run_enough_takes_nothing_and_says_that_it_ends():
    queue = Queue(["waits"])
    tasks = tasks_of(queue)
    assert tasks.get() == "STOP"
    assert queue == ["waits"]
    assert tasks._timer.value == ENDS


@pytest.mark.usefixtures("worn")
def test_process_of_a_cluster_that_stops_runs_what_is_left():
    tasks = tasks_of(Queue(["STOP", {"func": "math.sqrt"}]), stopping=1)
    assert tasks.get() == {"func": "math.sqrt"}
    assert tasks._timer.value == STAYS
    assert tasks.get() == "STOP"


def _serve(results):
    threading.Thread(target=time.sleep, args=(600,)).start()
    results.put("x" * 1_000_000)
    assert tasks_of(Queue(["STOP"])).get() == "STOP"


def test_process_that_ends_hands_over_its_results_and_waits_for_no_thread_of_a_task():
    context = get_context("fork")
    results = context.Queue()
    process = context.Process(target=_serve, args=(results,))
    process.start()
    try:
        assert len(results.get(timeout=60)) == 1_000_000
        process.join(20)
        assert process.exitcode == 0
    finally:
        process.kill()
        process.join()
