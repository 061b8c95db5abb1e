"""Profile tokens: signed, they let a client have its requests profiled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from itsdangerous import BadSignature, Signer

from ... import clock, crypto
from ...errors import Invalid

if TYPE_CHECKING:
    from flask import Flask

LONGEST = timedelta(hours=24)
LONGEST_TOKEN = 200
"""Characters; a longer token is refused without a check."""


def make(app: Flask, lasts: timedelta) -> tuple[str, datetime]:
    """Return a token for ``X-Profile-Token``, and its end.

    :raises Invalid: it would last longer than a day.
    """
    if lasts > LONGEST:
        raise Invalid(
            f"a profile token is valid for {int(LONGEST.total_seconds() // 3600)} hours at most"
        )
    ends = clock.now().replace(microsecond=0) + lasts
    return _signer(app).sign(str(int(ends.timestamp()))).decode(), ends


def is_valid(app: Flask, token: str) -> bool:
    """Tell whether this is a token of this application that has not ended."""
    if not token or len(token) > LONGEST_TOKEN or not token.isascii():
        return False
    try:
        ends = int(_signer(app).unsign(token))
    except (BadSignature, ValueError):
        return False
    return clock.now().timestamp() < ends


def _signer(app: Flask) -> Signer:
    import hashlib

    return Signer(crypto.key(app, "profile"), salt="opsapp/profile", digest_method=hashlib.sha256)
