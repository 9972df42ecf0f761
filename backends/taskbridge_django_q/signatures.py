"""Signatures of Django-Q2 1.11's packages, which knows no SECRET_KEY_FALLBACKS."""

from functools import cache

from django.conf import settings
from django.core.signing import TimestampSigner
from django.utils.crypto import constant_time_compare
from django_q.conf import Conf

from taskbridge.signing import KeyOnceSigner


class _Signer(KeyOnceSigner, TimestampSigner):
    """What ``SignedPackage`` makes anew for each package."""


@cache
def _signer(key: str | bytes, salt: str) -> _Signer:
    return _Signer(key=key, salt=salt)


def signer() -> TimestampSigner:
    """Return what signs packages now."""
    return _signer(Conf.SECRET_KEY, Conf.PREFIX)


def renewed(package: str | bytes) -> str:
    """Return a package that was signed with a fallback key, signed with SECRET_KEY.

    Any other is returned as it is; Django-Q2 refuses it unless SECRET_KEY signed it.
    What is no text (somebody else wrote to the queue) becomes one that it refuses.
    """
    text = package.decode(errors="replace") if isinstance(package, bytes) else package
    signed, separator, signature = text.rpartition(":")
    for key in settings.SECRET_KEY_FALLBACKS:
        if constant_time_compare(
            signature, _signer(key, Conf.PREFIX).signature(signed)
        ):
            return f"{signed}{separator}{signer().signature(signed)}"
    return text
