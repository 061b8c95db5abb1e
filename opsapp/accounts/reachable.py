"""Addresses for an account: in canonical form, and such that mail can reach them.

The answer comes from receivers of :data:`opsapp.signals.address_entered`, before the gate:
a mail server may be asked for it.

docs/decisions/mail.md#names-beyond-ascii-need-smtputf8
"""

from __future__ import annotations

from .. import addresses, signals, text
from ..errors import Invalid
from ..extensions import this_app
from .lookup import find_user


def clean(email: str) -> str:
    """Return the canonical address that an account may have.

    :raises Invalid: it is not an address, or mail cannot reach it and no account has it yet.
    """
    email = addresses.clean(email)
    reason = unreachable(email)
    if reason and find_user(email) is None:
        raise _refusal(email, reason)
    return email


def clean_of_stranger(email: str) -> str:
    """Return the canonical address of a stranger, who must not learn which accounts exist.

    :raises Invalid: it is not an address, or mail cannot reach it.
    """
    email = addresses.clean(email)
    if reason := unreachable(email):
        raise _refusal(email, reason)
    return email


def _refusal(email: str, reason: str) -> Invalid:
    return Invalid(f"e-mail {text.truncate(email)}: {reason}")


def unreachable(email: str) -> str | None:
    """Return why mail cannot reach the address, or None."""
    app = this_app()
    for receiver in signals.address_entered.receivers_for(app):
        if reason := receiver(app, email=email):
            return str(reason)
    return None
