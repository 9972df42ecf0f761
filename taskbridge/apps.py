"""The Django app."""

from django.apps import AppConfig

from . import legible


class TaskbridgeConfig(AppConfig):
    """Registers the system checks and the management command."""

    name = "taskbridge"
    verbose_name = "TaskBridge"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks, and create every backend in TASKS once.

        That imports its adapter, which may have to register something before a worker
        that is not ours starts: `celery -A project worker` must know our task.
        """
        from . import checks  # noqa: F401, PLC0415 - needs the settings
        from .compat import task_backends  # noqa: PLC0415 - the same

        legible.install()
        task_backends.all()
        options = [each.get("OPTIONS", {}) for each in task_backends.settings.values()]
        if any("IN_PROCESS" in each for each in options):
            from . import in_process  # noqa: PLC0415 - of web processes alone

            in_process.install()
