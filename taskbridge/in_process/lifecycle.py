"""When the threads of a web process start, and how they end with it.

They start where requests are served, and nowhere else: with the first request, with
the lifespan of an ASGI server, or at once under runserver. A server that forks has
forked by then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from django.core.handlers.asgi import ASGIHandler
from django.core.signals import request_started
from django.utils.autoreload import DJANGO_AUTORELOAD_ENV

from taskbridge.backend import Backend
from taskbridge.compat import task_backends

from .threads import Threads

logger = logging.getLogger("taskbridge")

STOP_WITHIN_S = 25
"""How long running tasks may take to finish; gunicorn waits for 30 s by default."""


class _Process:
    """What this process has started."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.is_started = False
        self.threads: list[Threads] = []


_process = _Process()


def _forget() -> None:
    """Begin anew in a forked process, where the threads do not run."""
    global _process  # noqa: PLW0603 - of the process
    _process = _Process()


def install() -> None:
    """Have the threads started where this process turns out to serve requests."""
    if not _backends():
        return
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_forget)
    request_started.connect(_on_request)
    _answer_lifespan()
    if _is_runserver(sys.argv):
        start()


def start() -> None:
    """Start the threads of this process, unless that was done before.

    To be called after the last fork of a server, where tasks are to run before there is
    a request: in gunicorn's ``post_worker_init``, for example. It raises nothing.
    """
    process = _process
    with process.lock:
        if process.is_started:
            return
        process.is_started = True
        for backend in _backends():
            threads = Threads(backend)
            process.threads.append(threads)
            try:
                threads.start()
            except RuntimeError as exc:  # the system is short of threads
                logger.error("%s runs no tasks in this process: %s", backend, exc)
        with suppress(RuntimeError):  # this process ends already
            # Before that of concurrent.futures: tasks that finish may need its threads.
            threading._register_atexit(stop)  # type: ignore[attr-defined]  # noqa: SLF001 - private


def stop(within_s: float = STOP_WITHIN_S) -> None:
    """Let running tasks finish, begin no other, and end the threads."""
    process = _process
    with process.lock:
        stopped, process.threads = process.threads, []
    until = time.monotonic() + within_s
    for threads in stopped:
        threads.tell_to_stop()
    for threads in stopped:
        threads.join(until)


def _backends() -> list[Backend]:
    return [
        backend
        for backend in task_backends.all()
        if isinstance(backend, Backend)
        and backend.keeps_records
        and backend.durable_options.in_process
    ]


def _on_request(sender: Any, **kwargs: object) -> None:
    if not _process.is_started and not _is_test(sender):
        start()


def _is_test(sender: Any) -> bool:
    """Whether a request comes from Django's test client, or in a run of tests."""
    utils = sys.modules.get("django.test.utils")
    is_run = utils is not None and hasattr(utils._TestState, "saved_data")  # noqa: SLF001 - what setup_test_environment() looks at
    # Clients of others (Django REST framework's) have handlers that inherit Django's.
    classes = getattr(sender, "__mro__", ())
    return is_run or any(each.__module__ == "django.test.client" for each in classes)


def _is_runserver(argv: list[str]) -> bool:
    """Whether this process serves for `runserver`; the parent that reloads does not."""
    if argv[1:2] != ["runserver"]:
        return False
    return "--noreload" in argv or os.environ.get(DJANGO_AUTORELOAD_ENV) == "true"


def _answer_lifespan() -> None:
    """Have Django's ASGI handler answer the lifespan protocol, which it refuses.

    It is how an ASGI server tells that it stops: uvicorn then ends by its signal, and
    no hook of Python's is called.
    """
    call: Any = ASGIHandler.__call__

    async def __call__(  # noqa: N807 - in its place
        self: ASGIHandler, scope: Any, receive: Any, send: Any
    ) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await call(self, scope, receive, send)

    ASGIHandler.__call__ = __call__  # type: ignore[method-assign]  # see above


async def _live(
    receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            start()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await asyncio.to_thread(stop)
            await send({"type": "lifespan.shutdown.complete"})
            return
