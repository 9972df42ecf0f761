"""kill -9 of every process, at any moment."""

import random
import signal
import time

from taskbridge.testing.harness import wait_until

from .processes import kill_one, tree_of
from .scene import Scene

KILLS = ("child", "child", "child", "child", "worker", "worker") + 2 * (
    "dispatcher",
    "supervisor",
)
TASKS = 500
TASK_S = 0.03


def kill_at_random(scene: Scene, chance: random.Random) -> None:
    """500 tasks, 10 kills while they run and while more of them are enqueued."""
    kills = list(KILLS)
    chance.shuffle(kills)
    print(f"kills: {' '.join(kills)}")  # noqa: T201
    # Without its supervisor a worker that hangs is killed after this time.
    patience = ("--graceful-timeout", "10")
    worker = scene.start_worker(*patience)
    dead = []
    for kind in kills:
        scene.enqueue_many(TASKS // len(kills), TASK_S)
        time.sleep(chance.uniform(0, 1))  # the moment is the fault
        if kind == "supervisor":
            dead.append(worker)
            worker.process.kill()
            worker = scene.start_worker(*patience, ready=False)
        else:
            kill_one(kind, worker.pid, chance)
    scene.wait_finished()
    scene.judge()
    worker.signal(signal.SIGTERM)
    # 1 where it is just starting anew after a kill.
    assert worker.wait(timeout_s=60) in {0, 1}, worker.log_tail()
    wait_until(
        lambda: not any(each.descendants() for each in dead),
        "no process of a supervisor that was killed is left",
    )


def test_kill_at_random_loses_nothing(scene: Scene, chance: random.Random) -> None:
    kill_at_random(scene, chance)


def test_idle_pool_can_be_killed(scene: Scene) -> None:
    """While it waits for work: that of Django-Q2 then holds locks that others need."""
    worker = scene.start_worker()
    for number in (1, 3):  # of Django-Q2: a pool process, and its monitor
        pool = sorted(tree_of(worker.pid).pool, key=lambda process: process.pid)
        pool[number % len(pool)].kill()
        scene.enqueue(str(number), 0)
        scene.wait_finished()
    scene.judge()
    worker.signal(signal.SIGTERM)
    # 1 where it is just starting anew after a kill.
    assert worker.wait(timeout_s=60) in {0, 1}, worker.log_tail()
