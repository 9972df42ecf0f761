"""TaskBridge on Django-Q2, with Redis or its ORM broker."""

import importlib.util

if importlib.util.find_spec("django_q") is None:
    raise ImportError(
        "The Django-Q2 backend needs Django-Q2: "
        "pip install 'django-taskbridge[django-q2]'"
    )

from .backend import DjangoQBackend

__all__ = ["DjangoQBackend"]
