"""What Dramatiq's command imports: Django, set up, and the actors."""

import django

django.setup()

from .dramatiq_tasks import broker  # noqa: E402 - tasks may use Django

__all__ = ["broker"]
