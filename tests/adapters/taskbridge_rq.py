"""TaskBridge on RQ 3, which keeps its queues in Redis."""

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from functools import cached_property, partial
from typing import ClassVar

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DequeueTimeout, DeserializationError
from rq.serializers import JSONSerializer

from taskbridge.adapter import WorkerOptions
from taskbridge.backend import Backend, Envelope, Features, Option, Support
from taskbridge.exceptions import BackendUnavailable, WorkerFailed
from taskbridge.execution import run

WAIT_S = 2  # for a connection, and again for an answer: together less than 5


class RQBackend(Backend):
    """Runs tasks on RQ. OPTIONS: BROKER_URL."""

    options_schema: ClassVar = {"BROKER_URL": Option(types=str, description="a URL")}

    @property
    def native_features(self) -> Features:
        """RQ has no priorities, and its delays may end a second early."""
        return Features(run_after=Support.NO, priority=Support.NO)

    def push(self, envelopes: Sequence[Envelope]) -> None:
        """Hand over all of them in one transaction of Redis."""
        with self._translated_errors(), self._client.pipeline() as pipeline:
            for name in {envelope.queue_name for envelope in envelopes}:
                bodies = [e.body for e in envelopes if e.queue_name == name]
                # Without a description RQ makes one, with the whole body in it.
                jobs = [Queue.prepare_data(run, [b], description="-") for b in bodies]
                self._queue(name).enqueue_many(jobs, pipeline=pipeline)
            pipeline.execute()

    def run_worker(self, options: WorkerOptions) -> None:
        """Fork a process for each slot; when told to stop, or one has died, wait."""
        self.queue_depths()  # raises while Redis is down: the supervisor tries again
        self._client.close()  # no socket goes over a fork
        # Blocked until a process can take it. Here it stays so, and is looked for.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        fork = multiprocessing.get_context("fork").Process
        arguments = [(options, os.getpid())] * options.concurrency
        slots = [fork(target=self._serve, args=each) for each in arguments]
        for slot in slots:
            slot.start()
        options.ready()
        told = False
        while alive := [slot for slot in slots if slot.is_alive()]:
            one_died = len(alive) < len(slots) and not options.burst
            if not told and (one_died or signal.SIGTERM in signal.sigpending()):
                told = True
                for slot in alive:
                    slot.terminate()  # it finishes its task first
            time.sleep(0.1)
        if any(slot.exitcode for slot in slots):
            raise WorkerFailed(f"{self}: a process died, or lost Redis; see above.")

    def queue_depths(self) -> dict[str, int | None]:
        with self._translated_errors():
            return {name: self._queue(name).count for name in sorted(self.queues)}

    def purge(self, queue_names: Collection[str]) -> int:
        with self._translated_errors():
            return sum(self._queue(name).empty() for name in queue_names)

    def _serve(self, options: WorkerOptions, parent: int) -> None:
        """Run what is in the queues, one by one, until told to stop, or orphaned."""
        told: list[int] = []
        signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        queues = [self._queue(name) for name in options.queues]
        wait_s = None if options.burst else 1
        dequeue = partial(Queue.dequeue_any, serializer=JSONSerializer)
        while not told and os.getppid() == parent:
            queues.append(queues.pop(0))  # each is first in its turn
            try:
                found = dequeue(queues, wait_s, self._client)
            except DequeueTimeout:
                continue
            if found is None:
                return
            job, queue = found
            body = None  # which `run` refuses, as it does any other that is not ours
            with contextlib.suppress(DeserializationError, LookupError, TypeError):
                body = job.args[0]
            # Before it runs, so a kill leaves nothing behind: at most once.
            queue.intermediate_queue.remove(job.id)
            job.delete(remove_from_queue=False)
            run(body)  # and not the function that the job names, whatever that is

    def _queue(self, name: str) -> Queue:
        # Not RQ's pickles; and a name that nobody else's worker listens to.
        return Queue(self.name_in_broker(name), self._client, serializer=JSONSerializer)

    @cached_property
    def _client(self) -> Redis:
        url = self.options.get("BROKER_URL", "redis://127.0.0.1:6379/0")
        retry = Retry(NoBackoff(), 0)  # its default goes on for longer than 5 s
        limits = {"socket_connect_timeout": WAIT_S, "socket_timeout": WAIT_S}
        return Redis.from_url(url, retry=retry, **limits)

    @contextlib.contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as exc:
            raise BackendUnavailable(f"{self}: Redis did not answer ({exc}).") from exc
