"""When a process of a pool has run enough."""

import mmap

import pytest

from taskbridge import recycling
from taskbridge.adapter import WorkerOptions
from taskbridge.compat import task_backends
from taskbridge.features import Support
from taskbridge.recycling import MIB, Limits, count_task, is_worn, limit, resident_bytes
from tests.contract import observations


@pytest.fixture(autouse=True)
def no_limits_afterwards():
    yield
    limit(Limits())


def test_process_is_worn_after_so_many_tasks(caplog):
    caplog.set_level("INFO", logger="taskbridge")
    limit(Limits(max_tasks=2))
    count_task()
    assert not is_worn()
    count_task()
    assert caplog.text == ""
    assert is_worn()
    assert "is replaced: it has run 2 tasks and uses" in caplog.text


def test_process_without_limits_is_never_worn():
    limit(Limits())
    for _ in range(1000):
        count_task()
    assert not is_worn()


def test_memory_counts_once_a_task_has_run():
    limit(Limits(max_memory_mib=1))
    assert not is_worn()  # a new one would have as much: it is to run something
    count_task()
    assert is_worn()


def test_resident_bytes_falls_when_memory_is_given_back():
    with mmap.mmap(-1, 64 * MIB) as used:
        used.write(b"x" * (64 * MIB))
        most = resident_bytes()
    assert most > 64 * MIB
    assert resident_bytes() < most - 32 * MIB


def test_resident_bytes_is_the_peak_where_there_is_no_proc(monkeypatch, tmp_path):
    now = resident_bytes()
    monkeypatch.setattr(recycling, "STATM", tmp_path / "none")
    assert now / 2 < resident_bytes() < now * 100


def test_no_more_tasks_are_joined_than_a_process_may_run():
    def options(max_tasks):
        return WorkerOptions(
            queues=(), concurrency=1, burst=False, ready=print, max_tasks=max_tasks
        )

    assert options(None).within_limits(50) == 50
    assert options(10).within_limits(50) == 10
    assert options(100).within_limits(50) == 50


@pytest.mark.parametrize("alias", observations.PLACES)
def test_our_own_adapters_replace_processes(alias):
    """The contract takes a no, too."""
    assert task_backends[alias].features.recycle is Support.BRIDGED
