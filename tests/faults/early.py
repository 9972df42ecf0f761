"""An app that opens a connection as soon as Django is set up."""

from django.apps import AppConfig
from django.db import connection


class Early(AppConfig):
    name = "tests.faults.early"
    label = "early"

    def ready(self):
        connection.ensure_connection()
