"""Types that every room shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

Record = dict[str, Any]
"""A plain record: what a service returns, a command prints and the API sends."""
Fields = Mapping[str, Any]
"""The same, only read."""
Progress = Callable[[int], None]
"""Called with how many are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountFilter:
    """Conditions on accounts, ours or an application's own, which must all hold."""

    role: str | Sequence[str] | None = None
    """One role or several: the accounts that hold them all."""
    without_role: str | None = None
    status: str | None = None
    search: str | None = None
    idle_for: timedelta | None = None
