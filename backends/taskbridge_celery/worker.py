"""Runs a Celery worker inside `manage.py taskbridge worker`."""

import logging
import signal
from dataclasses import replace
from secrets import token_hex
from socket import gethostname
from typing import Any

from billiard import pool as billiard_pool
from billiard.util import _exit_function  # type: ignore[attr-defined]  # private
from celery import Celery, signals
from celery._state import get_current_app
from celery.worker import state

from taskbridge.adapter import WorkerOptions, let_tasks_finish, pass_over
from taskbridge.exceptions import BackendUnavailable, WorkerFailed
from taskbridge.merging import Merger
from taskbridge.pulse import begin_task, end_task

from .broker import Broker
from .consumer import Consumer

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.2
CONSUME_TRIES = 20
"""How often, 0.1 s apart, an ending pool process checks whether the main process has
read its last result. That may never happen once it is told to stop (billiard 4.3)."""


def run_worker(
    app: Celery, broker: Broker, options: WorkerOptions, *, alias: str, chunk: int
) -> None:
    """Run a prefork worker until SIGTERM, or until burst ends.

    Args:
        app: whose messages it takes.
        broker: behind the app.
        options: see there.
        alias: of the backend.
        chunk: how many messages may be joined; 1: none.

    Raises:
        WorkerFailed: Celery gave up; its log says why.
    """
    options = replace(options, queues=_usable(broker, options.queues))
    # A receiver of setup_logging is how Celery is told to leave logging alone.
    signals.setup_logging.connect(_leave_logging_alone)

    def on_ready(sender: Any, **kwargs: Any) -> None:
        if options.burst:
            burst = _Burst(broker, options.queues, sender)
            sender.timer.call_repeatedly(LOOK_EVERY_S, burst.look)
        # Celery's own handler would cut off tasks at the second one.
        signal.signal(signal.SIGINT, pass_over)
        options.ready()

    # Celery makes the worker's app the current one, to which `@shared_task` sends. A
    # task of ours may call such a task of the project.
    theirs = get_current_app()

    def give_back(**kwargs: Any) -> None:
        theirs.set_current()
        theirs.set_default()

    signals.worker_process_init.connect(give_back, weak=False)
    signals.worker_ready.connect(on_ready, weak=False)
    signals.task_prerun.connect(_let_task_finish)
    # The tasks of a project's own app, too.
    signals.task_prerun.connect(begin_task)
    signals.task_postrun.connect(end_task)
    if broker.is_redis:
        from . import acks  # noqa: PLC0415 - kombu's module needs redis-py

        acks.install()
    chunk = options.within_limits(chunk)
    Consumer.merger = Merger(chunk, options.concurrency) if chunk > 1 else None
    # 300 by default: stopping would now and then take 30 s, and we need no results.
    billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = CONSUME_TRIES
    worker = app.Worker(
        # Random: of two workers with one name, RabbitMQ lets only the first start.
        hostname=f"taskbridge-{alias}-{token_hex(4)}@{gethostname()}",
        pool=_pool(options),
        concurrency=options.concurrency,
        queues=list(options.queues),
        prefetch_multiplier=1,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        redirect_stdouts=False,
        quiet=True,
    )
    worker.start()
    _exit_function()  # its directory of pipes would stay: nothing else removes it here
    if worker.exitcode:
        raise WorkerFailed(f"{broker}: Celery's worker ended with {worker.exitcode}.")


def _pool(options: WorkerOptions) -> str:
    """Return the path of a pool that honours the limits of a process.

    Those that a project's own app has set hold as well.
    """
    if options.max_tasks or options.max_memory_mib:
        return "taskbridge_celery.pool:TaskPool"
    return "prefork"


def _usable(broker: Broker, queues: tuple[str, ...]) -> tuple[str, ...]:
    try:
        usable = broker.usable(queues)
    except BackendUnavailable as exc:
        logger.warning("%s", exc)  # Celery waits until it is there
        return queues
    if not usable:
        raise WorkerFailed(f"{broker}: the broker refuses all of its queues.")
    return tuple(usable)


def run_native_worker(app: Celery, owner: str, *, alias: str) -> None:
    """Run the worker that `celery worker` runs, with the app's own settings.

    Raises:
        WorkerFailed: Celery gave up; its log says why.
    """
    signals.setup_logging.connect(_leave_logging_alone)
    signals.task_prerun.connect(_let_task_finish)
    name = f"native-{alias}-{token_hex(4)}@{gethostname()}"
    worker = app.Worker(hostname=name, quiet=True)
    worker.start()
    _exit_function()
    if worker.exitcode:
        raise WorkerFailed(f"{owner}: Celery's worker ended with {worker.exitcode}.")


class _Burst:
    """Ends the worker once its queues were seen empty twice in a row.

    Twice, since a message may be between the queue and the worker's books. Delayed
    tasks go back to the queue when the worker ends.
    """

    def __init__(self, broker: Broker, queues: tuple[str, ...], consumer: Any) -> None:
        self._broker = broker
        self._queues = queues
        self._consumer = consumer
        self._was_empty = False

    def look(self) -> None:
        try:
            waiting = sum(filter(None, self._broker.depths(self._queues).values()))
        except BackendUnavailable as exc:
            logger.warning("%s", exc)
            return
        held = getattr(self._consumer, "buffer", None)  # Celery's own has none
        empty = not waiting and not held and not state.reserved_requests
        if empty and self._was_empty:
            # An exit status, upon which Celery 5.7 raises WorkerShutdown.
            state.should_stop = 0  # type: ignore[assignment]  # the stub has only None
        self._was_empty = empty


def _let_task_finish(**kwargs: Any) -> None:
    """Prepare a pool process: at its start billiard would put its handlers in place."""
    let_tasks_finish()


def _leave_logging_alone(**kwargs: Any) -> None:
    pass
