"""The parts of the contract; `contract` and `contract_durable` put them together."""

from pkgutil import iter_modules

import pytest

# A failed assertion then says what it compared, as in a file of tests.
pytest.register_assert_rewrite(
    *(f"{__name__}.{module.name}" for module in iter_modules(__path__))
)
