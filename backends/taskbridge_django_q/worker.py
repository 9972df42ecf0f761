"""Runs a cluster of Django-Q2 1.11 inside `manage.py taskbridge worker`."""

import logging
import signal
import time

from django.db import Error as DatabaseError
from django_q.cluster import Cluster
from django_q.conf import Conf
from django_q.conf import logger as q_logger
from django_q.scheduler import scheduler
from django_q.signals import post_spawn
from redis.exceptions import RedisError

from taskbridge.adapter import WorkerOptions, let_tasks_finish, pass_over
from taskbridge.exceptions import WorkerFailed

from . import sentinel
from .brokers import RedisBroker
from .orm_broker import OrmBroker

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.1
REPLACE_EVERY_S = 0.1
"""How often the sentinel looks for a process that has ended; usually twice a second."""
OF_THE_PROJECT = ("CLUSTER_NAME", "SAVE_LIMIT", "ACK_FAILURES", "SYNC")
"""What decides where, and how, a task of ours that calls ``async_task`` queues."""


def run_worker(broker: OrmBroker | RedisBroker, options: WorkerOptions) -> None:
    """Run a cluster until SIGTERM, or until burst ends.

    Raises:
        WorkerFailed: the cluster ended by itself.
    """
    _configure(broker, options)
    sentinel.install()
    post_spawn.connect(_let_tasks_finish)
    stop = _StopFlag()
    while True:
        if options.burst:
            _fire_schedules(broker)
        cluster = _started_cluster(broker, stop)
        options.ready()
        _wait(cluster, broker, stop, burst=options.burst)
        # This runs what the pool has taken; a task may add to the queue meanwhile.
        if not cluster.stop():
            raise WorkerFailed("The sentinel of Django-Q2's cluster died.")
        if options.burst:
            _fire_schedules(broker)
        if stop.is_set or not _is_waiting(broker):
            return


def run_native_worker() -> None:
    """Run the cluster that `qcluster` runs, with the settings of Q_CLUSTER.

    Raises:
        WorkerFailed: the cluster ended by itself, or could not start.
    """
    post_spawn.connect(_let_tasks_finish)
    stop = _StopFlag()
    try:
        cluster = _started_cluster(None, stop)
    except RuntimeError as exc:
        raise WorkerFailed(str(exc)) from exc
    while not stop.is_set:
        if not cluster.sentinel.is_alive():
            raise WorkerFailed("The sentinel of Django-Q2's own cluster died.")
        time.sleep(LOOK_EVERY_S)
    cluster.stop()


def _started_cluster(
    broker: OrmBroker | RedisBroker | None, stop: "_StopFlag"
) -> Cluster:
    """Start a cluster whose processes leave SIGTERM to this one.

    A service manager may send it to every process; that must not cut off tasks.
    Cluster() sets handlers of its own, too, which fail before it has started.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        cluster = Cluster(broker=broker)
        stop.listen()
        cluster.start()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    return cluster


def _let_tasks_finish(**kwargs: object) -> None:
    """Accept SIGTERM again in a pool process, with a handler that does nothing.

    If it stayed blocked, so it would in the programs that a task starts.
    """
    let_tasks_finish()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _fire_schedules(broker: OrmBroker | RedisBroker) -> None:
    """Queue the delayed tasks that are due; the cluster looks only every 30 s."""
    scheduler(broker=broker)


def _configure(broker: OrmBroker | RedisBroker, options: WorkerOptions) -> None:
    theirs = {name: getattr(Conf, name) for name in OF_THE_PROJECT}

    def give_back(**kwargs: object) -> None:
        for name, value in theirs.items():
            setattr(Conf, name, value)

    post_spawn.connect(give_back, weak=False)
    # Django-Q2 reads its settings at import and then only from these attributes.
    Conf.WORKERS = options.concurrency
    # What is taken ahead is what a crash loses on Redis, and what SIGTERM waits for.
    Conf.QUEUE_LIMIT = options.concurrency
    Conf.BULK = 1
    Conf.SAVE_LIMIT = -1
    Conf.ACK_FAILURES = True
    Conf.TIMEOUT = None
    Conf.RECYCLE = 0
    if options.max_memory_mib:
        Conf.MAX_RSS = None  # it goes by the most that a process ever had
    if options.max_tasks or options.max_memory_mib:
        Conf.GUARD_CYCLE = REPLACE_EVERY_S
    Conf.CLUSTER_NAME = broker.schedules
    # Delayed tasks are fired here, into their queue, also if the project's are not.
    Conf.SCHEDULER = True
    Conf.SYNC = False
    if "log_level" not in Conf.conf:
        # Two lines for every task, by default; Django's signals log them already.
        q_logger.setLevel(logging.WARNING)


def _wait(
    cluster: Cluster,
    broker: OrmBroker | RedisBroker,
    stop: "_StopFlag",
    *,
    burst: bool,
) -> None:
    """Return when it is time to stop the cluster."""
    while not stop.is_set:
        if not cluster.sentinel.is_alive():
            raise WorkerFailed("The sentinel of Django-Q2's cluster died.")
        if burst and not _is_waiting(broker):
            return
        time.sleep(LOOK_EVERY_S)


def _is_waiting(broker: OrmBroker | RedisBroker) -> bool:
    try:
        return broker.queue_size() > 0
    except (RedisError, DatabaseError) as exc:
        logger.warning("The queue cannot be read: %s", exc)
        return True


class _StopFlag:
    """Set by SIGTERM; a plain attribute, since a handler must not take a lock."""

    def __init__(self) -> None:
        self.is_set = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._set)
        signal.signal(signal.SIGINT, pass_over)  # the supervisor hears Ctrl-C

    def _set(self, *_: object) -> None:
        self.is_set = True
