"""Views that enqueue tasks of the contract, and say in which process."""

import os

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.urls import path

from taskbridge.testing import tasks


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(os.getpid()))


def enqueue(request: HttpRequest, task: str, key: str) -> HttpResponse:
    args = [float(each) for each in request.GET.getlist("arg")]
    with transaction.atomic():
        getattr(tasks, task).enqueue(request.GET["ledger"], key, *args)
    return HttpResponse(str(os.getpid()))


urlpatterns = [
    path("", nothing),
    path("<str:task>/<str:key>", enqueue),
]
