"""An index that finds old records without reading those that are kept."""

from typing import Any

from django.db import migrations, models


class AddIndexOnline(migrations.AddIndex):
    """An index that is made while tasks run: PostgreSQL has to be asked for that."""

    atomic = False

    def database_forwards(
        self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any
    ) -> None:
        if schema_editor.connection.vendor != "postgresql":
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            schema_editor.add_index(model, self.index, concurrently=True)


class Migration(migrations.Migration):
    atomic = False  # CREATE INDEX CONCURRENTLY

    dependencies = [("taskbridge", "0001_initial")]

    operations = [
        AddIndexOnline(
            model_name="taskrecord",
            index=models.Index(
                fields=["backend", "status", "finished_at", "id"],
                name="taskbridge_ended",
            ),
        ),
    ]
