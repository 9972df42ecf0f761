"""django-background-tasks' own app, whatever the project's DEFAULT_AUTO_FIELD says."""

from background_task.apps import BackgroundTasksAppConfig

from .backend import KEYS


class BackgroundTasks(BackgroundTasksAppConfig):
    """What ``"taskbridge_background_tasks"`` in INSTALLED_APPS stands for.

    It keeps the keys that the migrations of version 1.2 made; with another
    DEFAULT_AUTO_FIELD, `makemigrations` would want one more, among the installed
    packages.
    """

    name = "background_task"
    default = True
    default_auto_field = KEYS
