"""The parts of the tests: `make test` runs each on one database, `make test-other` on the other.

Some files, whose tests take long, are in the second part only.
"""

from __future__ import annotations

import os
import zlib
from collections import defaultdict

import pytest

PART = os.environ.get("OPSAPP_TESTS_PART", "")
"""``one``, ``other``, or empty: every test on both databases."""
KINDS = ("sqlite", "postgresql")
ON_BOTH = ("tests/engine/", "tests/unit/")
"""Tests of the unit of work and what it stands on: on both databases in the first part."""
LATER = (
    *("tests/cli/test_terminal.py", "tests/console/tampering/", "tests/console/test_commits.py"),
    *("tests/console/test_completion.py", "tests/console/test_conditions.py"),
    *("tests/console/test_history.py", "tests/console/test_interactive.py"),
    *("tests/console/test_masking.py", "tests/console/test_modes.py"),
    *("tests/console/test_plans.py", "tests/console/test_preferences.py"),
    "tests/faults/test_system_calls.py::test_lock_that_is_not_released",
    "tests/house/test_attaching.py::test_page_works_as_written[attaching-flask-appbuilder",
    *("tests/house/test_tutorial.py", "tests/house/test_wheel.py", "tests/jobs/test_serve.py"),
    *("tests/profiling/test_writer.py", "tests/web/test_browser.py"),
    *("tests/web/test_gunicorn.py", "tests/web/test_schemathesis.py"),
)
"""Tests at a real terminal or in a browser, with servers, and of many cases: in the second part."""


def deselect(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other part."""
    if not PART:
        return
    kinds: dict[str, set[str | None]] = defaultdict(set)
    for item in items:
        kinds[_name(item)].add(_kind(item))
    here: list[pytest.Item] = []
    elsewhere: list[pytest.Item] = []
    for item in items:
        is_in_one = _is_in_one(item, has_both=len(kinds[_name(item)]) > 1)
        (here if is_in_one == (PART == "one") else elsewhere).append(item)
    items[:] = here
    config.hook.pytest_deselected(items=elsewhere)


def _is_in_one(item: pytest.Item, *, has_both: bool) -> bool:
    if item.nodeid.startswith(LATER):
        return False
    if item.nodeid.startswith(ON_BOTH) or not has_both:
        return True
    if "sqlite_only" in getattr(item, "fixturenames", ()):
        return _kind(item) == "sqlite"
    return _kind(item) == KINDS[zlib.crc32(_name(item).encode()) % len(KINDS)]


def _kind(item: pytest.Item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec and callspec.params.get("kind")


def _name(item: pytest.Item) -> str:
    """Return the test's name without the database."""
    test, _, parameters = item.nodeid.partition("[")
    words = parameters.removesuffix("]").split("-")
    return f"{test}[{'-'.join(word for word in words if word not in KINDS)}]"
