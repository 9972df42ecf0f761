"""Queues that are paused, and the workers that run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskbridge", "0004_taskrecord_cancelled_by")]

    operations = [
        migrations.CreateModel(
            name="PausedQueue",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("backend", models.CharField(max_length=64)),
                ("queue_name", models.CharField(max_length=255)),
                ("paused_at", models.DateTimeField()),
                ("paused_by", models.CharField(default="", max_length=255)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=["backend", "queue_name"], name="taskbridge_paused"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="WorkerRecord",
            fields=[
                (
                    "id",
                    models.UUIDField(editable=False, primary_key=True, serialize=False),
                ),
                ("backend", models.CharField(max_length=64)),
                ("host", models.CharField(max_length=64)),
                ("pid", models.BigIntegerField()),
                ("concurrency", models.PositiveIntegerField()),
                ("queues", models.TextField()),
                ("version", models.CharField(max_length=64)),
                ("started_at", models.DateTimeField()),
                ("seen_at", models.DateTimeField()),
            ],
        ),
    ]
