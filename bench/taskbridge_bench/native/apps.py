"""The apps of this lane."""

from background_task.apps import BackgroundTasksAppConfig
from django.apps import AppConfig


class Native(AppConfig):
    """The tasks and the table of the native lane."""

    name = "taskbridge_bench.native"
    label = "taskbridge_bench_native"
    default = True


class BackgroundTasks(BackgroundTasksAppConfig):
    """Keeps the key that its migrations made; else `makemigrations` wants one more."""

    default_auto_field = "django.db.models.AutoField"
