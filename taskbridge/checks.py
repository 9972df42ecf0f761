"""System checks that look at tasks; a backend checks its own settings."""

from collections.abc import Iterable
from typing import Any

from django.core import checks

from .backend import Backend
from .compat import task_backends
from .policy import asked_policy
from .task import decorated


@checks.register
def check_tasks_on_foreign_backends(**kwargs: Any) -> Iterable[checks.CheckMessage]:
    """Warn of policy that a backend of somebody else will not honour."""
    for task in decorated:
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
