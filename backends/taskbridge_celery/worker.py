"""Runs a Celery worker inside `manage.py taskbridge worker`."""

import logging
import signal
from secrets import token_hex
from socket import gethostname
from typing import TYPE_CHECKING, Any

from billiard import pool as billiard_pool
from billiard.util import _exit_function  # type: ignore[attr-defined]  # private
from celery import Celery, signals
from celery.worker import state

from taskbridge.exceptions import BackendUnavailable, WorkerFailed
from taskbridge.worker import WorkerOptions, pass_over

if TYPE_CHECKING:
    from .backend import CeleryBackend

logger = logging.getLogger("taskbridge")

LOOK_EVERY_S = 0.2
CONSUME_TRIES = 20
"""How often, 0.1 s apart, a pool process that ends looks whether the main process has
read its last result. It may never do so, once it is told to stop (billiard 4.3)."""


def run_worker(backend: "CeleryBackend", app: Celery, options: WorkerOptions) -> None:
    """Run a prefork worker until SIGTERM, or until burst ends.

    Raises:
        WorkerFailed: Celery gave up; its log says why.
    """
    # A receiver of setup_logging is how Celery is told to leave logging alone.
    signals.setup_logging.connect(_leave_logging_alone)

    def on_ready(sender: Any, **kwargs: Any) -> None:
        if options.burst:
            burst = _Burst(backend, options.queues)
            sender.timer.call_repeatedly(LOOK_EVERY_S, burst.look)
        options.ready()

    signals.worker_ready.connect(on_ready, weak=False)
    signals.task_prerun.connect(_let_task_finish)
    # 300 by default: a stop would now and then take 30 s, and no result matters to us.
    billiard_pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = CONSUME_TRIES
    worker = app.Worker(
        # Random: of two workers with one name, RabbitMQ lets only the first start.
        hostname=f"taskbridge-{backend.alias}-{token_hex(4)}@{gethostname()}",
        pool="prefork",
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
        raise WorkerFailed(f"{backend}: Celery's worker ended with {worker.exitcode}.")


class _Burst:
    """Ends the worker once its queues were seen empty twice in a row.

    Twice, since a message may be between the queue and the worker's books. Delayed
    tasks go back to the queue when the worker ends.
    """

    def __init__(self, backend: "CeleryBackend", queues: tuple[str, ...]) -> None:
        self._backend = backend
        self._queues = queues
        self._was_empty = False

    def look(self) -> None:
        try:
            waiting = self._backend.depth_of(self._queues)
        except BackendUnavailable as exc:
            logger.warning("%s", exc)
            return
        empty = not waiting and not state.reserved_requests
        if empty and self._was_empty:
            # An exit status, upon which Celery 5.7 raises WorkerShutdown.
            state.should_stop = 0  # type: ignore[assignment]  # the stub has only None
        self._was_empty = empty


def _let_task_finish(**kwargs: Any) -> None:
    """Pass over SIGTERM in a pool process, which billiard would end at once.

    A service manager may send it to every process; the main one waits for tasks.
    """
    signal.signal(signal.SIGTERM, pass_over)


def _leave_logging_alone(**kwargs: Any) -> None:
    pass
