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


@dataclass(frozen=True, slots=True)
class Standing:
    """What lets an account act: it is looked at again inside of the gate.

    A request may wait there while its token is revoked, its session ended or its
    account deactivated, and must not act on what it held when it began.
    """

    user_id: int
    uniquifier: str
    """The account's ``fs_uniquifier`` as the request saw it."""
    session_id: int | None = None
    token_id: int | None = None
