"""TaskBridge on django-background-tasks."""

import importlib.util

if importlib.util.find_spec("background_task") is None:
    raise ImportError(
        "The django-background-tasks backend needs django-background-tasks: "
        "pip install 'django-taskbridge[background-tasks]'"
    )

from .backend import BackgroundTasksBackend

__all__ = ["BackgroundTasksBackend"]
