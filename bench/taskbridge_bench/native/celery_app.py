"""The Celery app, word for word as in Celery's "First steps with Django"."""

from celery import Celery

app = Celery("taskbridge_bench")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
