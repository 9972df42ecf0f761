"""The processes of a worker, by what they are for, and how to end one."""

import contextlib
import random
import signal
from dataclasses import dataclass

import psutil

from taskbridge.testing.harness import wait_until


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of one `manage.py taskbridge worker`."""

    supervisor: psutil.Process
    worker: psutil.Process
    """The main process of the queue library's worker."""
    dispatcher: psutil.Process
    pool: list[psutil.Process]
    """What the main process has started."""


def tree_of(supervisor_pid: int) -> Tree:
    """Wait until all processes are there, and return them."""
    found: list[Tree] = []
    wait_until(
        lambda: _look(supervisor_pid, found),
        f"supervisor {supervisor_pid} has a worker with a pool, and a dispatcher",
        timeout_s=60,
    )
    return found[0]


def kill_one(kind: str, supervisor_pid: int, chance: random.Random) -> None:
    """Kill -9 one process: "child" of the worker, "worker" or "dispatcher"."""
    tree = tree_of(supervisor_pid)
    victim = chance.choice(tree.pool) if kind == "child" else getattr(tree, kind)
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.send_signal(signal.SIGKILL)


def _look(supervisor_pid: int, found: list[Tree]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(supervisor_pid)
        pools = {child: _alive(child) for child in supervisor.children()}
        with_pool = [child for child, pool in pools.items() if pool]
        without = [child for child, pool in pools.items() if not pool]
        if len(with_pool) == len(without) == 1:
            worker, dispatcher = with_pool[0], without[0]
            found.append(Tree(supervisor, worker, dispatcher, pools[worker]))
    return bool(found)


def _alive(process: psutil.Process) -> list[psutil.Process]:
    return [
        child
        for child in process.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]
