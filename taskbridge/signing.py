"""Django's signer, made faster for thousands of messages with the same key."""

import hmac
from functools import lru_cache

from django.core.signing import Signer, b64_encode
from django.utils.crypto import salted_hmac
from django.utils.encoding import force_bytes


class KeyOnceSigner(Signer):
    """Signs as `Signer` does, but derives the key once instead of for each signature.

    With ``TimestampSigner`` as the second base, it signs as that class does.
    """

    def signature(self, value: str | bytes, key: str | bytes | None = None) -> str:
        """Return the signature of a value, by SHA-256, Django's default."""
        mac = _keyed_mac(self.salt, key or self.key).copy()
        mac.update(force_bytes(value))
        return b64_encode(mac.digest()).decode()


@lru_cache(maxsize=64)
def _keyed_mac(salt: str, key: str | bytes) -> hmac.HMAC:
    return salted_hmac(f"{salt}signer", b"", key, algorithm="sha256")
