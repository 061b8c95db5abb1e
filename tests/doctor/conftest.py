"""Doctor on a busy machine."""

from __future__ import annotations

import pytest

from opsapp.doctor import server


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no finding."""
    monkeypatch.setattr(server, "SLOW_MILLISECONDS", 60_000)
