"""Django-Q2's own app, for projects that have no Q_CLUSTER."""

import warnings

from django.conf import settings

with warnings.catch_warnings():
    if not hasattr(settings, "Q_CLUSTER"):
        # Its defaults warn about themselves; TaskBridge's workers have their own.
        warnings.filterwarnings("ignore", "Retry and timeout are misconfigured")
    from django_q.apps import DjangoQConfig


class DjangoQ(DjangoQConfig):
    """What ``"taskbridge_django_q"`` in INSTALLED_APPS stands for."""

    name = "django_q"
    default = True
