"""The example: its tasks do their work and may run twice; the demo shows it."""

import contextlib
import signal
from pathlib import Path

import psutil
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import call_command
from django.db import connection, transaction
from django.db.migrations.executor import MigrationExecutor
from PIL import Image

from orders import payments, warehouse
from orders.checkout import place
from orders.models import Order
from orders.samples import draw_cover
from orders.tasks import charge, make_thumbnail, notify_warehouse, send_receipt
from taskbridge import TaskContext, TaskResultStatus
from taskbridge.compat import task_backends
from taskbridge.models import TaskRecord
from taskbridge.results import new_result
from taskbridge.testing.harness import session_members, wait_until

EXAMPLE = Path(__file__).parents[2] / "example"
DEMO_DEADLINE_S = 90
UNREACHABLE = "redis://127.0.0.1:1/0"


@pytest.fixture
def order(db, settings, tmp_path, monkeypatch) -> Order:
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(payments, "ANSWERS_AFTER_S", 0)
    monkeypatch.setattr(warehouse, "ANSWERS_AFTER_S", 0)
    return new_order(pk=1)


@pytest.fixture
def durable_queue(settings):
    """The example's tasks in durable delivery, with a queue in this process."""
    durable = settings.TASKS["durable_default"]
    settings.TASKS = {**settings.TASKS, "default": durable}
    queue = task_backends["default"]
    queue.purge(queue.queues)
    yield queue
    queue.purge(queue.queues)


def new_order(*, pk: int) -> Order:
    order = unsaved_order(pk=pk)
    order.save()
    return order


def unsaved_order(*, pk: int) -> Order:
    return Order(
        pk=pk,
        customer_email="reader@example.org",
        title="Emma",
        amount_cents=1100,
        cover=ContentFile(draw_cover("Emma", "palevioletred"), name="emma.png"),
    )


def in_attempt(number: int, order_id: int) -> TaskContext:
    result = new_result(charge, [order_id], {})
    result.worker_ids.extend(f"worker {n}" for n in range(number))
    return TaskContext(task_result=result)


def test_send_receipt_mails_the_customer(order, mailoutbox):
    send_receipt(order.pk)
    (mail,) = mailoutbox
    assert mail.to == ["reader@example.org"]
    assert mail.subject == f"Your receipt for order {order.pk}"
    assert "Emma: 11.00 EUR" in mail.body


def test_send_receipt_twice_mails_once(order, mailoutbox):
    send_receipt(order.pk)
    send_receipt(order.pk)
    assert len(mailoutbox) == 1


def test_send_receipt_that_cannot_be_mailed_is_mailed_later(
    order, mailoutbox, monkeypatch
):
    def refuse(*args, **kwargs):
        raise ConnectionRefusedError("no mail server")

    with monkeypatch.context() as patch:
        patch.setattr("orders.tasks.send_mail", refuse)
        with pytest.raises(ConnectionRefusedError, match="no mail server"):
            send_receipt(order.pk)
    order.refresh_from_db()
    assert order.receipt_sent_at is None
    send_receipt(order.pk)
    assert len(mailoutbox) == 1


def test_send_receipt_goes_to_the_queue_of_mail():
    assert send_receipt.queue_name == "mail"


def test_make_thumbnail_keeps_the_proportions(order):
    make_thumbnail(order.pk)
    order.refresh_from_db()
    assert (order.thumbnail.width, order.thumbnail.height) == (107, 160)
    with order.thumbnail.open() as file, Image.open(file) as image:
        assert image.format == "PNG"


def test_make_thumbnail_twice_leaves_one_file(order):
    make_thumbnail(order.pk)
    make_thumbnail(order.pk)
    assert default_storage.listdir("thumbnails") == ([], [f"{order.pk}.png"])


def test_make_thumbnail_leaves_other_columns_alone(order, monkeypatch):
    """What another task wrote while the picture was made is not written over."""
    real_open = Image.open

    def charged_meanwhile(file):
        Order.objects.update(payment_status=Order.PaymentStatus.PAID)
        return real_open(file)

    monkeypatch.setattr(Image, "open", charged_meanwhile)
    make_thumbnail(order.pk)
    order.refresh_from_db()
    assert order.payment_status == Order.PaymentStatus.PAID


def test_charge_marks_the_order_as_paid(order):
    charge.func(in_attempt(1, order.pk), order.pk)
    order.refresh_from_db()
    assert order.payment_status == Order.PaymentStatus.PAID


def test_charge_twice_asks_the_service_once(order, monkeypatch):
    asked = []
    monkeypatch.setattr(payments, "charge", lambda **kwargs: asked.append(kwargs))
    charge.func(in_attempt(1, order.pk), order.pk)
    charge.func(in_attempt(2, order.pk), order.pk)
    assert asked == [{"reference": order.pk, "amount_cents": 1100, "attempt": 1}]


def test_charge_fails_at_first_for_every_third_order(order):
    third = new_order(pk=3)
    with pytest.raises(payments.PaymentServiceUnavailable, match="answer for order 3"):
        charge.func(in_attempt(1, third.pk), third.pk)
    third.refresh_from_db()
    assert third.payment_status == Order.PaymentStatus.UNPAID
    charge.func(in_attempt(2, third.pk), third.pk)
    third.refresh_from_db()
    assert third.payment_status == Order.PaymentStatus.PAID


@pytest.mark.django_db(transaction=True)
def test_charge_waits_for_another_attempt_after_a_failure(order, durable_queue):
    third = new_order(pk=3)
    result = charge.enqueue(third.pk)
    durable_queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    assert result.errors[0].exception_class is payments.PaymentServiceUnavailable


@pytest.mark.django_db(transaction=True)
def test_charge_of_an_order_that_is_gone_fails_at_once(durable_queue):
    result = charge.enqueue(404)
    durable_queue.run_due()
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
    assert result.errors[0].exception_class_path == "orders.models.Order.DoesNotExist"


def test_notify_warehouse_twice_announces_once(order, monkeypatch):
    announced = []

    async def announce(*, reference, title):
        announced.append((reference, title))

    monkeypatch.setattr(warehouse, "announce", announce)
    notify_warehouse.call(order.pk)
    notify_warehouse.call(order.pk)
    order.refresh_from_db()
    assert announced == [(order.pk, "Emma")]
    assert order.warehouse_notified_at is not None


@pytest.mark.django_db(transaction=True)
def test_order_that_is_placed_has_every_task_done(order, durable_queue, mailoutbox):
    results = place(unsaved_order(pk=2))
    durable_queue.run_due()
    for result in results:
        result.refresh()
    assert {r.status for r in results} == {TaskResultStatus.SUCCESSFUL}
    assert len(mailoutbox) == 1


@pytest.mark.django_db(transaction=True)
def test_order_that_is_rolled_back_leaves_no_task(order, durable_queue):
    with pytest.raises(OSError, match="the shop burns down"), transaction.atomic():
        place(unsaved_order(pk=2))
        raise OSError("the shop burns down")
    assert not TaskRecord.objects.exists()
    assert durable_queue.run_due() == 0


def test_project_has_no_change_without_migration(db):
    call_command("makemigrations", check=True, dry_run=True, verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_payments_that_had_failed_are_unpaid_after_the_migration():
    executor = MigrationExecutor(connection)
    old = executor.migrate([("orders", "0001_initial")]).apps.get_model(
        "orders", "Order"
    )
    old.objects.create(amount_cents=1, payment_status="failed", payment_attempts=1)
    executor = MigrationExecutor(connection)
    executor.migrate(executor.loader.graph.leaf_nodes())
    assert Order.objects.get().payment_status == Order.PaymentStatus.UNPAID


def test_demo_runs_every_task_and_leaves_no_process(project):
    assert project.manage("migrate", "--verbosity", "0") == (0, "")
    status, output = project.manage("demo")
    assert status == 0, output
    assert "6 orders, 24 tasks. BackgroundTasksBackend" in output
    rows = [line for line in output.splitlines() if "107 x 160" in line]
    assert len(rows) == 6
    assert all("sent" in row and "notified" in row for row in rows)
    assert [row.split()[1] for row in rows if "attempt 2" in row] == ["3", "6"]
    assert "Tasks: 24 SUCCESSFUL; attempts: 26." in output
    assert "did not answer at first for 3 (attempt 2) and 6 (attempt 2);" in output
    # Two processes may share a file, which Django names by the second.
    mails = "".join(f.read_text() for f in (project.folder / "sent_mail").iterdir())
    assert mails.count("Subject: ") == 6


def test_demo_of_which_a_task_fails_for_good_says_so(project):
    samples = project.folder / "orders" / "samples.py"
    samples.write_text(samples.read_text().replace("(990,", "(0,"))
    project.manage("migrate", "--verbosity", "0")
    status, output = project.manage("demo")
    assert status == 1
    rows = [line for line in output.splitlines() if "107 x 160" in line]
    assert [row.split()[1] for row in rows if "FAILED" in row] == ["3"]
    assert "Tasks: 1 FAILED, 23 SUCCESSFUL; attempts: 25." in output
    assert (
        "charge of order 3 failed in attempt 1: "
        "ValueError: Order 3: cannot charge 0 cents."
    ) in output
    assert "CommandError: Some failed; tasks not done: 1." in output


def test_demo_whose_worker_ends_says_so_with_its_words(project):
    project.manage("migrate", "--verbosity", "0")
    tasks = project.folder / "orders" / "tasks.py"
    broken = "\nimport sys\nif 'worker' in sys.argv:\n    raise OSError('no disk')\n"
    tasks.write_text(tasks.read_text() + broken)
    status, output = project.manage("demo")
    assert status == 1
    assert "The worker ended with status 1; tasks not done: 24." in output
    assert "cannot be imported: OSError: no disk" in output


def test_demo_without_tables_says_to_migrate(project):
    status, output = project.manage("demo")
    assert status == 1
    assert output == (
        "CommandError: The database lacks tables of this project: "
        "run `python manage.py migrate`.\n"
    )


@pytest.mark.parametrize("backend", ["celery", "django_q"])
def test_demo_without_broker_says_so_in_one_line(project, backend):
    project.manage("migrate", "--verbosity", "0")
    status, output = project.manage(
        "demo", TASKBRIDGE_BACKEND=backend, BROKER_URL=UNREACHABLE
    )
    assert status == 1
    (line,) = output.strip().splitlines()
    assert line.startswith("CommandError: Backend 'default' (")
    assert "Is it up" in line


def test_demo_without_worker_ends_at_its_deadline(project):
    project.manage("migrate", "--verbosity", "0")
    status, output = project.manage("demo", "--no-worker", "--timeout", "0.5")
    assert status == 1
    assert "Waiting for `python manage.py taskbridge worker`." in output
    assert "was given 0.5 s; tasks not done: 24." in output


def test_unknown_backend_names_those_there_are(project):
    status, output = project.manage("check", TASKBRIDGE_BACKEND="rabbit")
    assert status == 1
    assert output.strip().endswith(
        "ImproperlyConfigured: The environment says TASKBRIDGE_BACKEND='rabbit'; "
        "it must be one of celery, django_q, background_tasks."
    )


def test_settings_of_backends_differ_in_nothing_but_tasks(project):
    backends = ("celery", "django_q", "background_tasks")
    printed = [
        set(project.manage("diffsettings", TASKBRIDGE_BACKEND=name)[1].splitlines())
        for name in backends
    ]
    differing = set.union(*printed) - set.intersection(*printed)
    assert {line.split()[0] for line in differing} == {"TASKBRIDGE_BACKEND", "TASKS"}


def has_worker(pid: int) -> bool:
    """Imports have children as well, for a moment: such as `ldconfig`."""
    commands = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            commands += child.cmdline()
    return "worker" in commands


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_interrupted_leaves_no_process(project, number):
    project.manage("migrate", "--verbosity", "0")
    with project.start("demo") as process:
        wait_until(lambda: has_worker(process.pid), "the demo has a worker")
        process.send_signal(number)
        output, _ = process.communicate(timeout=DEMO_DEADLINE_S)
        # One that was killed is there for another moment.
        wait_until(lambda: not session_members(process.pid), "no process is left")
    assert process.returncode == 130
    assert output.endswith(
        "Stopped. What has not been run waits for the next worker.\n"
    )
