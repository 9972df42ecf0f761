"""A worker that stands still for longer than its lease, and then goes on."""

import signal

from taskbridge.testing.harness import send_signal, session_members, wait_until

from .judge import runs_of
from .processes import freeze
from .scene import Scene

TASK_S = 1.5


def test_late_finish_of_a_frozen_worker_is_refused(scene: Scene) -> None:
    workers = [scene.start_worker(concurrency=1, ready=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    result = scene.enqueue("a", TASK_S)
    scene.wait_started("a")
    [first] = runs_of(scene.ledger)["a"]
    frozen = next(w for w in workers if first.pid in session_members(w.pid))
    freeze(lambda: session_members(frozen.pid))
    try:
        scene.wait_started("a", times=2)
    finally:
        send_signal(session_members(frozen.pid), signal.SIGCONT)
    scene.wait_finished()
    wait_until(lambda: "is dropped" in frozen.log_text(), "the late finish is refused")
    wait_until(lambda: len(scene.ledger.entries("finished")) == 2, "both have ended")
    _, second = runs_of(scene.ledger)["a"]
    result.refresh()
    assert result.return_value == second.pid != first.pid
    assert result.attempts == 2
    assert scene.record(result).lost == 1
