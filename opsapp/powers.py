"""What the account behind a change may do, as a unit of work carries it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Powers:
    """An account's permissions, limited to those of the token it came with.

    It holds no list: what the account may do is read when it matters, inside of
    the gate, since it may have been taken away a moment ago.
    """

    user_id: int
    scope: frozenset[str] | None = None
    """The token's permissions; None does not limit."""
