"""Views that enqueue tasks of the contract, and say in which process."""

import os

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from taskbridge.testing import tasks

from .tasks import finish_in_a_thread

TASKS = {**vars(tasks), "finish_in_a_thread": finish_in_a_thread}


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


def enqueue(request: HttpRequest, task: str, key: str) -> HttpResponse:
    args = [float(each) for each in request.GET.getlist("arg")]
    with transaction.atomic():
        TASKS[task].enqueue(request.GET["ledger"], key, *args)
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("", nothing),
    path("<str:task>/<str:key>", enqueue),
]
