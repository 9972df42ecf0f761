"""The tasks framework of the installed Django, under one set of names.

Django 6 ships it as ``django.tasks``; on Django 5.2 it is the ``django-tasks``
backport. The two do not share types, so this is the only module that knows which one
is in use. It asks ``django.VERSION``: the backport may be installed beside Django 6.
"""

import sys
from typing import TYPE_CHECKING, Any, TypeVar

import django

T = TypeVar("T")

# Type checkers do not know which Django is installed. Django 6 needs Python 3.12, so
# that is what decides; on Python 3.12 with Django 5.2, types come from here, too.
if TYPE_CHECKING and sys.version_info >= (3, 12):
    from django.tasks import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_QUEUE_NAME,
        TaskResultStatus,
        task_backends,
    )
    from django.tasks import Task as DjangoTask
    from django.tasks import TaskContext as _TaskContext
    from django.tasks import TaskResult as DjangoTaskResult
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import (
        DEFAULT_TASK_PRIORITY,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TaskError,
    )
    from django.tasks.exceptions import (
        InvalidTask,
        InvalidTaskBackend,
        TaskResultDoesNotExist,
    )
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json

    # In the stubs of Django 6, these know what a function takes, too.
    TaskResult = DjangoTaskResult[..., T]
    TaskContext = _TaskContext[..., Any]
    BaseTask = DjangoTask
    BaseTaskResult = DjangoTaskResult[..., T]
    BaseTaskContext = _TaskContext[..., Any]
elif TYPE_CHECKING or django.VERSION < (6, 0):
    # Importing `checks` and `signals` is what registers them in the backport; Django 6
    # does it by itself.
    from django_tasks import checks as _checks  # noqa: F401
    from django_tasks import task_backends
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_PRIORITY,
        DEFAULT_TASK_QUEUE_NAME,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TaskContext,
        TaskError,
        TaskResult,
        TaskResultStatus,
    )
    from django_tasks.base import Task as DjangoTask
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
    from django_tasks.utils import normalize_json

    BaseTask = DjangoTask
    BaseTaskResult = TaskResult
    BaseTaskContext = TaskContext
    DjangoTaskResult = TaskResult
else:
    from typing import Generic, ParamSpec

    from django.tasks import (
        DEFAULT_TASK_BACKEND_ALIAS,
        DEFAULT_TASK_QUEUE_NAME,
        TaskContext,
        TaskResult,
        TaskResultStatus,
        task_backends,
    )
    from django.tasks import Task as DjangoTask
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import (
        DEFAULT_TASK_PRIORITY,
        TASK_MAX_PRIORITY,
        TASK_MIN_PRIORITY,
        TaskError,
    )
    from django.tasks.exceptions import (
        InvalidTask,
        InvalidTaskBackend,
        TaskResultDoesNotExist,
    )
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json

    P = ParamSpec("P")

    class BaseTask(DjangoTask, Generic[P, T]):
        """Django's Task made subscriptable, as the backport's already is."""

        __slots__ = ()

    class BaseTaskResult(TaskResult, Generic[T]):
        """The same of Django's TaskResult."""

        __slots__ = ()

    BaseTaskContext = TaskContext
    DjangoTaskResult = TaskResult


__all__ = [
    "DEFAULT_TASK_BACKEND_ALIAS",
    "DEFAULT_TASK_PRIORITY",
    "DEFAULT_TASK_QUEUE_NAME",
    "TASK_MAX_PRIORITY",
    "TASK_MIN_PRIORITY",
    "BaseTask",
    "BaseTaskBackend",
    "BaseTaskContext",
    "BaseTaskResult",
    "DjangoTask",
    "DjangoTaskResult",
    "InvalidTask",
    "InvalidTaskBackend",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
