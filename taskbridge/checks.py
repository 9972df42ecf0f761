"""System checks that look at tasks; a backend checks its own settings."""

from collections.abc import Iterable, Sequence
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .backend import Backend
from .compat import InvalidTaskBackend, task_backends
from .exceptions import BackendUnavailable
from .policy import asked_policy, policy_of
from .registry import decorated


@checks.register
def check_durable_delivery(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Refuse settings that durable delivery cannot work with."""
    for backend in task_backends.all():
        if not isinstance(backend, Backend) or not backend.keeps_records:
            continue
        if not settings.USE_TZ:
            yield checks.Error(
                f"{backend}: durable delivery needs USE_TZ = True.",
                hint="Set USE_TZ = True, or OPTIONS['DELIVERY'] = 'native'.",
                id="taskbridge.E005",
            )
        try:
            backend.store.check()
        except ImproperlyConfigured as exc:
            yield checks.Error(f"{backend}: {exc}", id="taskbridge.E006")


@checks.register(checks.Tags.database)
def check_stranded_tasks(
    *, databases: Sequence[str] | None = None, **kwargs: Any
) -> Iterable[checks.CheckMessage]:
    """Warn about tasks that wait for durable delivery where it is native now."""
    for backend in task_backends.all() if databases else ():
        if not isinstance(backend, Backend):
            continue
        try:
            number = backend.stranded()
        except BackendUnavailable:
            continue  # there is no table yet, or no database
        if number:
            yield checks.Warning(
                f"{backend}: {stranded_tasks(number)}",
                hint=STRANDED_HINT,
                id="taskbridge.W004",
            )


def stranded_tasks(number: int) -> str:
    """Say how many tasks nobody looks after."""
    return (
        f"{number} tasks have a record and wait for durable delivery; nobody delivers "
        f"delays, retries or lost attempts of these while DELIVERY is 'native'."
    )


STRANDED_HINT = (
    "Run a worker with DELIVERY = 'durable' until `taskbridge status` shows none, and "
    "change it then."
)


@checks.register
def check_timeouts(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Refuse a `timeout` where tasks run in threads, which nothing can interrupt."""
    for task in decorated:
        backend = task_backends[task.backend] if _is_known(task.backend) else None
        if policy_of(task).timeout is None or not isinstance(backend, Backend):
            continue
        if why := _why_no_timeouts(backend):
            yield checks.Error(
                f"Task {task.module_path!r}: {backend} cannot keep its timeout: {why}.",
                hint="Use a pool of processes, or drop the option.",
                id="taskbridge.E007",
            )


def _why_no_timeouts(backend: Backend) -> str | None:
    try:
        return backend.why_no_timeouts
    except InvalidTaskBackend:
        return None  # the backend's own check tells what is wrong


def _is_known(alias: str) -> bool:
    return alias in task_backends.settings


@checks.register
def check_tasks_on_foreign_backends(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Warn about policy that somebody else's backend will not honour."""
    known = [task for task in decorated if _is_known(task.backend)]
    for task in known:
        backend = task_backends[task.backend]
        if isinstance(backend, Backend):
            continue  # it has already refused what it cannot do
        for asked in asked_policy(task).values():
            yield checks.Warning(
                f"Task {task.module_path!r}: {type(backend).__name__} "
                f"({task.backend!r}) does not honour {asked}.",
                hint="Use a TaskBridge backend, or drop the option.",
                id="taskbridge.W001",
            )
