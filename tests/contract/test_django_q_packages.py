"""The packages that we make are those of Django-Q2's own `SignedPackage`."""

import pytest
from django_q.conf import Conf
from django_q.signing import SignedPackage

from taskbridge_django_q import packages
from taskbridge_django_q.joining import NATIVE_TASK


@pytest.mark.parametrize("compressed", [False, True])
def test_package_is_what_django_q_reads_and_would_have_signed(compressed, monkeypatch):
    monkeypatch.setattr(Conf, "COMPRESSED", compressed)
    monkeypatch.setattr("time.time", lambda: 1_800_000_000.0)
    package = packages.package("a body " * 20)
    task = SignedPackage.loads(package)
    assert (task["func"], task["args"]) == (NATIVE_TASK, ("a body " * 20,))
    assert SignedPackage.dumps(task, compressed) == package


def test_package_of_another_key_is_refused(monkeypatch):
    package = packages.package("a body")
    monkeypatch.setattr(Conf, "SECRET_KEY", "another")
    with pytest.raises(Exception, match="Signature"):
        SignedPackage.loads(package)
    assert SignedPackage.loads(packages.package("a body"))
