"""Attempts are counted by TaskBridge; a payment that failed is one not yet made."""

from django.db import migrations, models


def failed_to_unpaid(apps, schema_editor):
    orders = apps.get_model("orders", "Order").objects.using(
        schema_editor.connection.alias
    )
    orders.filter(payment_status="failed").update(payment_status="unpaid")


class Migration(migrations.Migration):
    dependencies = (("orders", "0001_initial"),)

    operations = (
        migrations.RemoveField(model_name="order", name="payment_attempts"),
        migrations.RunPython(failed_to_unpaid, migrations.RunPython.noop),
        migrations.AlterField(
            model_name="order",
            name="payment_status",
            field=models.CharField(
                choices=[("unpaid", "Unpaid"), ("paid", "Paid")],
                default="unpaid",
                max_length=10,
            ),
        ),
    )
