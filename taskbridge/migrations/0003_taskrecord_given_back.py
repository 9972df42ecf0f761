"""Tasks that were claimed with others, and had not begun when their worker was lost."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("taskbridge", "0002_taskbridge_ended")]

    operations = [
        migrations.AddField(
            model_name="taskrecord",
            name="given_back",
            field=models.SmallIntegerField(db_default=0, default=0),
        ),
    ]
