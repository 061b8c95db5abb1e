"""A plugin of pytest: the tests of the mutated module come first, and kill most of its mutants."""

from __future__ import annotations

import os

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the tests by the mutant's name, such as ``opsapp.unit.ledger.x_append__mutmut_1``."""
    path, _, _function = os.environ.get("MUTANT_UNDER_TEST", "").partition(".x")
    own = f"test_{path.rpartition('.')[2]}"
    items.sort(key=lambda item: item.path.stem != own)
