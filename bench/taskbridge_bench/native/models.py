"""The table of the work "orm": one row for each task."""

from django.db import models


class Written(models.Model):
    """A row that a task wrote."""

    key = models.IntegerField()

    def __str__(self) -> str:
        return f"row of task {self.key}"
