"""Tasks that somebody has cancelled while they run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskbridge", "0003_taskrecord_given_back")]

    operations = [
        migrations.AddField(
            model_name="taskrecord",
            name="cancelled_by",
            field=models.CharField(db_default="", default="", max_length=255),
        ),
        migrations.AddField(
            model_name="taskrecord",
            name="kill",
            field=models.BooleanField(db_default=False, default=False),
        ),
    ]
