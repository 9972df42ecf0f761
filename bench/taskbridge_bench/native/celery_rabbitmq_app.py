"""The same Celery app on RabbitMQ; its settings have a prefix of their own."""

from celery import Celery

app = Celery("taskbridge_bench_rabbitmq", set_as_current=False)
app.config_from_object("django.conf:settings", namespace="RABBITMQ")
app.autodiscover_tasks()
