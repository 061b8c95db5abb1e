"""The time of a run, divided among its tests, and the tests that failed, for the page."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

from tests.faults import amounts, tally


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ours = [item for item in items if "tests/faults/" in item.nodeid]
    if amounts.MINUTES and ours:
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        amounts.share = amounts.MINUTES * 60 * workers / len(ours)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        tally.failed(item.name)
    return report
