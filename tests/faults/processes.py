"""The processes of a worker, by what they are for, and how to end one."""

import contextlib
import random
import signal
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil
from django.db import connection

from taskbridge.testing.harness import send_signal, wait_until


@dataclass(frozen=True, slots=True)
class Tree:
    """The processes of one `manage.py taskbridge worker`."""

    supervisor: psutil.Process
    worker: psutil.Process
    """The main process of the queue library's worker."""
    dispatcher: psutil.Process
    warden: psutil.Process
    """Kills what takes too long."""
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
    """Kill -9 one: "child" of the worker, "worker", "dispatcher" or "warden"."""
    tree = tree_of(supervisor_pid)
    victim = chance.choice(tree.pool) if kind == "child" else getattr(tree, kind)
    with contextlib.suppress(psutil.NoSuchProcess):
        victim.send_signal(signal.SIGKILL)


def freeze(pids: Callable[[], Iterable[int]]) -> None:
    """Stop processes, at a moment when none of them holds SQLite's lock."""
    wait_until(lambda: _is_frozen_well(pids()), "they could be stopped")


def _is_frozen_well(pids: Iterable[int]) -> bool:
    send_signal(pids, signal.SIGSTOP)
    if connection.vendor != "sqlite":
        return True
    database = sqlite3.connect(connection.settings_dict["NAME"], timeout=0.2)
    try:
        database.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        send_signal(pids, signal.SIGCONT)
        return False
    else:
        return True
    finally:
        database.close()


def _look(supervisor_pid: int, found: list[Tree]) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        supervisor = psutil.Process(supervisor_pid)
        pools = {child: _alive(child) for child in supervisor.children()}
        with_pool = [child for child, pool in pools.items() if pool]
        without = [child for child, pool in pools.items() if not pool]
        if (len(with_pool), len(without)) == (1, 2):
            [worker] = with_pool
            dispatcher, warden = sorted(without, key=_pipes)
            # It has a pipe of its own, once it has begun.
            if _pipes(warden) > _pipes(dispatcher):
                tree = Tree(supervisor, worker, dispatcher, warden, pools[worker])
                found.append(tree)
    return bool(found)


def _pipes(process: psutil.Process) -> int:
    """Count the ends of pipes that a process has open."""
    links = Path(f"/proc/{process.pid}/fd").iterdir()
    with contextlib.suppress(FileNotFoundError):
        return sum(str(each.readlink()).startswith("pipe:") for each in links)
    return 0


def _alive(process: psutil.Process) -> list[psutil.Process]:
    return [
        child
        for child in process.children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
    ]
