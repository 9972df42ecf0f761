"""A task that kills its own process whenever it runs."""

from taskbridge.compat import TaskResultStatus

from . import tasks
from .judge import MAX_LOST
from .scene import Scene

LOST = "taskbridge.exceptions.WorkerLost"


def test_crash_loop_ends(scene: Scene) -> None:
    """At the same time for three tasks, beside others that suffer nothing."""
    results = {
        task: scene.enqueue(task.name, task=task)
        for task in (tasks.crash, tasks.crash_or_retry, tasks.crash_at_most_once)
    }
    starts = dict.fromkeys(results, 1 + MAX_LOST) | {tasks.crash_at_most_once: 1}
    scene.start_worker()
    for n in range(20):
        scene.enqueue(str(n), 0.05)
    scene.wait_finished()
    started = scene.ledger.counts("started")
    assert {task.name: started[task.name] for task in results} == {
        task.name: times for task, times in starts.items()
    }
    for task, result in results.items():
        result.refresh()
        assert result.status == TaskResultStatus.FAILED
        assert [e.exception_class_path for e in result.errors] == [LOST] * starts[task]
        record = scene.record(result)
        assert (record.attempt, record.lost) == (starts[task], starts[task])
        assert len(record.workers) == starts[task]
        del scene.keys[result.id]
    others = scene.ledger.counts("finished")
    assert others.keys() == set(scene.keys.values())
