"""django-background-tasks' own app, as this project's DEFAULT_AUTO_FIELD needs it."""

from background_task.apps import BackgroundTasksAppConfig


class BackgroundTasks(BackgroundTasksAppConfig):
    """Keeps the key that its migrations made; else `makemigrations` wants one more."""

    default_auto_field = "django.db.models.AutoField"
