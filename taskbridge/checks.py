"""System checks that look at tasks; a backend checks its own settings."""

from collections.abc import Iterable
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, router

from .backend import Backend
from .compat import task_backends
from .policy import asked_policy
from .store.clock import clock_of
from .task import decorated


@checks.register
def check_durable_delivery(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Refuse settings that durable delivery cannot work with."""
    from .models import TaskRecord  # noqa: PLC0415 - the app registry

    durable = [
        backend
        for backend in task_backends.all()
        if isinstance(backend, Backend) and backend.delivery == "durable"
    ]
    for backend in durable:
        if not settings.USE_TZ:
            yield checks.Error(
                f"{backend}: durable delivery needs USE_TZ = True.",
                hint="Set USE_TZ = True, or OPTIONS['DELIVERY'] = 'native'.",
                id="taskbridge.E005",
            )
        if backend.durable_options.store == "database":
            try:
                clock_of(connections[router.db_for_write(TaskRecord)])
            except ImproperlyConfigured as exc:
                yield checks.Error(f"{backend}: {exc}", id="taskbridge.E006")


@checks.register
def check_tasks_on_foreign_backends(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Warn of policy that a backend of somebody else will not honour."""
    known = [task for task in decorated if task.backend in task_backends.settings]
    for task in known:
        backend = task_backends[task.backend]
        if isinstance(backend, Backend):
            continue  # it refused already what it cannot do
        for asked in asked_policy(task).values():
            yield checks.Warning(
                f"Task {task.module_path!r}: {type(backend).__name__} "
                f"({task.backend!r}) does not honour {asked}.",
                hint="Use a TaskBridge backend, or drop the option.",
                id="taskbridge.W001",
            )
