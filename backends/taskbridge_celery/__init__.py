"""TaskBridge on Celery, with Redis or RabbitMQ as its broker."""

try:
    import celery as _celery  # noqa: F401
except ModuleNotFoundError as exc:
    raise ImportError(
        "The Celery backend needs Celery: pip install 'django-taskbridge[celery]'"
    ) from exc

from .backend import CeleryBackend

__all__ = ["CeleryBackend"]
