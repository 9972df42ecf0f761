"""A wall clock that is wrong by as many seconds as the file in SKEW_FILE says.

Python imports it at its start where this folder is on PYTHONPATH, before any library
can take `time.time` or `datetime.datetime` by name. Monotonic clocks, and
`time.clock_gettime`, stay true.
"""

import datetime as dt
import os
import time as time_module
from pathlib import Path

READ_EVERY_S = 0.02

_file = Path(os.environ["SKEW_FILE"])
_true_time = time_module.time
_true_datetime = dt.datetime
_read_at = 0.0
_skew_s = 0.0


def skewed_time():
    global _read_at, _skew_s  # noqa: PLW0603 - a cache
    if time_module.monotonic() >= _read_at:
        _read_at = time_module.monotonic() + READ_EVERY_S
        _skew_s = float(_file.read_text() or _skew_s)  # empty while it is written
    return _true_time() + _skew_s


class _Type(type):
    def __instancecheck__(cls, instance):
        return isinstance(instance, _true_datetime)

    def __subclasscheck__(cls, subclass):
        return issubclass(subclass, _true_datetime)


class datetime(_true_datetime, metaclass=_Type):  # noqa: N801 - it takes that name
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(skewed_time(), tz)

    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(skewed_time(), dt.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls):
        return cls.now()


# It is pickled by this name.
datetime.__module__ = "datetime"
datetime.__qualname__ = "datetime"
dt.datetime = datetime
time_module.time = skewed_time
time_module.time_ns = lambda: int(skewed_time() * 1e9)
