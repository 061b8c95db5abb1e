"""The story that the tests of the audit read."""

from __future__ import annotations

import pytest

from tests.support import Cli, Database
from tests.support.templates import BOB, Commands


@pytest.fixture
def after_story() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support"),
        ("roles", "grant", "support", "bob", "--reason", "on call"),
        ("roles", "revoke", "support", "bob"),
        ("roles", "delete", "support", "--yes"),
    )


@pytest.fixture
def story(database: Database, after_story: Commands) -> None:
    """Nine events: Ada made admin (3, 4), Bob made (5), a role made and given (6 to 9)."""


def events(cli: Cli, *args: str) -> list[int]:
    """The numbers of the events that a list has."""
    result = cli("audit", "list", "--format", "json", *args)
    assert result.exit_code == 0, result.stderr
    return [event["seq"] for event in result.json]
