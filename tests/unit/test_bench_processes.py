"""What is told of processes: processor time and memory."""

import os
import subprocess
import sys
import time

from taskbridge_bench.processes import cpu_s, idle_cpu_s, memory_mb, servers_cpu_s

BURN = "import time\nwhile time.process_time() < 0.1: sum(range(9_999))"


def test_processor_time_includes_children_that_have_ended() -> None:
    before = cpu_s([os.getpid()])

    subprocess.run([sys.executable, "-c", BURN], check=True)

    assert cpu_s([os.getpid()]) - before >= 0.08


def test_processor_time_of_the_idle_is_that_of_their_threads() -> None:
    before = idle_cpu_s([os.getpid()])
    time.sleep(0.2)
    slept = idle_cpu_s([os.getpid()]) - before
    end = time.thread_time() + 0.2
    while time.thread_time() < end:
        pass

    assert slept < 0.05
    assert 0.15 < idle_cpu_s([os.getpid()]) - before - slept < 0.3


def test_processes_that_have_ended_cost_nothing() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    assert cpu_s([ended.pid]) == idle_cpu_s([ended.pid]) == memory_mb([ended.pid]) == 0


def test_memory_is_the_sum_over_processes() -> None:
    command = [sys.executable, "-c", "x = bytes(50_000_000); print(1); input()"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        here = memory_mb([os.getpid()])
        both = memory_mb([os.getpid(), process.pid])
        process.kill()

    assert here > 10
    assert 2 < both - here < 200


def test_servers_are_what_this_process_started_but_the_workers() -> None:
    script = f"{BURN}\nprint(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        told = sum(servers_cpu_s([]).values())
        left_out = sum(servers_cpu_s([process.pid]).values())
        process.kill()

    assert told - left_out >= 0.08
