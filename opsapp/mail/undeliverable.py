"""Undeliverable mail: names beyond ASCII, and the error of a message that the server refuses.

Apart from the backends, because an application may do without their package.
"""

from __future__ import annotations

from email.utils import parseaddr
from typing import Any

NO_UTF8 = "the mail server offers no SMTPUTF8, so it delivers to names in ASCII only"
SENDER_NEEDS_UTF8 = f"MAIL_DEFAULT_SENDER is not in ASCII: {NO_UTF8}"


class UndeliverableError(Exception):
    """The error of a message that the server does not take.

    :ivar is_final: it never will; otherwise another setting helps.
    """

    def __init__(self, message: str, *, is_final: bool = True) -> None:
        super().__init__(message)
        self.is_final = is_final


def is_plain(address: Any) -> bool:
    """Return whether any server takes the address: its name before the ``@`` is in ASCII."""
    return parseaddr(str(address))[1].rpartition("@")[0].isascii()
