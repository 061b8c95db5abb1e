"""An account for tokens, and a clock that stands still."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from opsapp import clock
from tests.support import Cli

SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
GRACE = "grace@example.com"
UNKNOWN = "Error: no user zoe\n  → flask users list --search TEXT\n"
SAME = "Already so: nothing was changed.\n"
TOKEN = re.compile(r"opsapp_[A-Za-z0-9_-]{43}")


@pytest.fixture
def grace(cli: Cli) -> str:
    """The address of an account, id 1."""
    cli("users", "create", GRACE, "--username", "grace", "--no-password", check=True)
    return GRACE


@pytest.fixture
def noon(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """The present moment, which stands still at noon on New Year's Day of 2030."""
    moment = datetime(2030, 1, 1, 12, tzinfo=UTC)
    monkeypatch.setattr(clock, "now", lambda: moment)
    return moment


def create(cli: Cli, name: str, *more: str) -> str:
    """The token of this name, just made for Grace."""
    return cli("users", "tokens", "create", "grace", name, "-q", *more, check=True).stdout.strip()
