"""The supervisor, with a stub for a worker; real workers are in tests/contract."""

import os
import signal
import subprocess
import sys

import pytest

from taskbridge.testing.harness import session_members, wait_until

PROGRAM = """
import os, signal
import django
from django.conf import settings
settings.configure(
    SECRET_KEY="x",
    INSTALLED_APPS=["taskbridge"],
    TASKS={
        "default": {
            "BACKEND": "tests.unit.stub_backend.StubBackend",
            "OPTIONS": {"DELIVERY": "native"},
        }
    },
)
django.setup()
from django.core.management import call_command
from taskbridge import worker
worker.roles.RESTART_PAUSES_S = (0.1,)
"""


@pytest.fixture
def start(tmp_path):
    """Start a supervisor of the stub; nothing of it is left at the end."""
    started = []

    def start(stub, *options, before="", **environment):
        log = (tmp_path / "log").open("w")
        call = f"call_command('taskbridge', 'worker', *{options!r})"
        process = subprocess.Popen(
            [
                *(sys.executable, "-W", "ignore", "-c"),
                f"{PROGRAM}{before}\n{call}",
            ],
            env={
                **os.environ,
                "STUB": stub,
                **environment,
                "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        started.append((process, log))
        return process

    yield start
    for process, log in started:
        for pid in session_members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
        log.close()


@pytest.fixture
def output(tmp_path):
    return (tmp_path / "log").read_text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stop_signal_ends_the_worker_with_status_0(start, output, number):
    process = start("sleep")
    wait_until(lambda: "worker ready" in output(), "the worker is ready")
    process.send_signal(number)
    # The stub has no handler: it dies of SIGTERM, as a worker does that has not begun.
    assert process.wait(20) == 0
    assert session_members(process.pid) == []


def test_stop_signals_within_a_second_are_one(start, output):
    process = start("finish")
    wait_until(lambda: "waiting" in output(), "the worker waits for a signal")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        process.send_signal(number)
    assert process.wait(20) == 0
    assert "is killed" not in output()


def test_stop_signal_just_before_the_fork_is_not_lost(start):
    before = """
real_fork = os.fork
def fork():
    os.kill(os.getpid(), signal.SIGTERM)
    return real_fork()
os.fork = fork
"""
    process = start("sleep", before=before)
    assert process.wait(20) == 0


def test_stop_signal_in_the_pause_before_a_restart_ends_it(start, output):
    process = start("fail", before="worker.roles.RESTART_PAUSES_S = (600,)")
    wait_until(lambda: "started again in 600 s" in output(), "it pauses")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_worker_that_fails_is_started_again_and_again(start, output):
    process = start("fail")
    wait_until(lambda: output().count("The stub failed.") >= 3, "it failed three times")
    assert "ended with status 1; it is started again" in output()
    assert process.poll() is None


@pytest.mark.parametrize("stub", ["fail", "crash"])
def test_burst_that_fails_has_status_1(start, output, stub):
    assert start(stub, "--burst").wait(20) == 1
    assert ("The stub failed." in output()) == (stub == "fail")
    assert ("LookupError: a bug of an adapter" in output()) == (stub == "crash")


def test_burst_that_ends_well_has_status_0(start):
    assert start("return", "--burst").wait(20) == 0


def test_what_a_worker_leaves_behind_is_killed(start):
    process = start("leave-child", "--burst")
    assert process.wait(20) == 0
    assert session_members(process.pid) == []


def test_worker_that_ignores_sigterm_is_killed_at_the_timeout(start, output):
    process = start("ignore", "--graceful-timeout", "0.2")
    wait_until(lambda: "ignoring" in output(), "the worker ignores SIGTERM")
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 1
    assert output().count("is killed; tasks that were running are cut off") == 1


def test_thread_from_before_the_fork_is_told(start, output):
    before = """
import threading, time
threading.Thread(target=time.sleep, args=(60,), daemon=True, name="early").start()
"""
    assert start("return", "--burst", before=before).wait(20) == 0
    assert "Threads run before the worker forks (early)" in output()


QUICK_WATCH = """
worker.watch.LOOK_EVERY_S = 0.1
worker.watch.LOOKS = 3
worker.watch.IDLE_FOR_S = 0.2
"""
DEAF = "has taken nothing for"


@pytest.mark.parametrize("stub", ["sleep", "ignore"])
def test_worker_that_takes_nothing_though_it_could_is_started_anew(start, output, stub):
    start(stub, before=QUICK_WATCH, HAS_DUE="yes")
    wait_until(lambda: output().count("worker ready") == 3, "it was started anew twice")
    assert output().count(DEAF) >= 2
    assert "has taken nothing for 0 s, although its queues have something" in output()


@pytest.mark.parametrize(
    ("stub", "has_due"), [("sleep", "no"), ("sleep", "unknown"), ("busy", "yes")]
)
def test_worker_without_room_or_messages_is_left_alone(start, output, stub, has_due):
    """After as many looks as would have found a deaf one."""
    before = f"""{QUICK_WATCH}
from tests.unit.stub_backend import StubBackend
worker.watch.IDLE_FOR_S = 60
looks = 0
step = worker.watch.Watch.step
def count(self, *args):
    global looks
    step(self, *args)
    looks += 1
    if looks == 15:
        os.write(1, b"enough looks")
worker.watch.Watch.step = count
"""
    start(stub, "--concurrency", "1", before=before, HAS_DUE=has_due)
    wait_until(lambda: "enough looks" in output(), "it was looked at often")
    assert DEAF not in output()


def test_deaf_worker_is_killed_only_when_its_task_has_ended(start, output, tmp_path):
    end = tmp_path / "end"
    start("ignore-and-run", before=QUICK_WATCH, HAS_DUE="yes", END=str(end))
    wait_until(lambda: DEAF in output(), "it is known to be deaf")
    assert output().count("worker ready") == 1
    end.touch()
    wait_until(lambda: output().count("worker ready") == 2, "it was started anew")
    assert "the task has ended" in output()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells of a parent's death")
def test_worker_that_hangs_without_its_supervisor_is_killed(start, output):
    process = start("ignore", "--graceful-timeout", "1")
    wait_until(lambda: "ignoring" in output(), "the worker ignores SIGTERM")
    assert len(session_members(process.pid)) == 2
    process.kill()
    wait_until(lambda: session_members(process.pid) == [], "nothing of it is left")
