"""The table of orders."""

from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Order",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True,
                        primary_key=True,
                        serialize=False,
                        verbose_name="ID",
                    ),
                ),
                ("customer_email", models.EmailField(max_length=254)),
                ("title", models.CharField(max_length=200)),
                ("amount_cents", models.PositiveIntegerField()),
                ("cover", models.ImageField(upload_to="covers")),
                ("receipt_sent_at", models.DateTimeField(blank=True, null=True)),
                ("thumbnail", models.ImageField(blank=True, upload_to="thumbnails")),
                (
                    "payment_status",
                    models.CharField(
                        choices=[
                            ("unpaid", "Unpaid"),
                            ("paid", "Paid"),
                            ("failed", "Failed"),
                        ],
                        default="unpaid",
                        max_length=10,
                    ),
                ),
                ("payment_attempts", models.PositiveIntegerField(default=0)),
                ("warehouse_notified_at", models.DateTimeField(blank=True, null=True)),
            ],
        ),
    )
