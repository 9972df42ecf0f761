"""One task decorator for Celery, Django-Q2 and django-background-tasks."""

from .compat import InvalidTask, TaskResultStatus
from .exceptions import (
    BackendUnavailable,
    InvalidMessage,
    NotDurable,
    StoreUnavailable,
    TaskbridgeException,
    TaskCancelled,
    TaskTimeout,
    WorkerLost,
)
from .handles import Cancelling, TaskContext, TaskResult
from .policy import exponential, linear
from .retry import Retry
from .task import Task, task

__version__ = "0.1.0.dev0"

__all__ = [
    "BackendUnavailable",
    "Cancelling",
    "InvalidMessage",
    "InvalidTask",
    "NotDurable",
    "Retry",
    "StoreUnavailable",
    "Task",
    "TaskCancelled",
    "TaskContext",
    "TaskResult",
    "TaskResultStatus",
    "TaskTimeout",
    "TaskbridgeException",
    "WorkerLost",
    "exponential",
    "linear",
    "task",
]
