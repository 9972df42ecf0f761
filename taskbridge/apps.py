"""The Django app."""

from django.apps import AppConfig


class TaskbridgeConfig(AppConfig):
    """Registers the system checks and the management command."""

    name = "taskbridge"
    verbose_name = "TaskBridge"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the checks."""
        from . import checks  # noqa: F401, PLC0415 - needs the settings
