"""Recovery codes: random, kept as keyed hashes, shown once, and forgiving when they are typed."""

from __future__ import annotations

import hmac
import secrets
from typing import Any

from flask import Response, current_app, g, render_template
from flask_security.recovery_codes import MfRecoveryCodesUtil

from ... import crypto

CODES = 10
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
"""Crockford's 32 characters: none is taken for another."""
LENGTH = 24
"""Characters of a code: 120 random bits, which need no slow hash."""
_MISREAD = str.maketrans({"o": "0", "i": "1", "l": "1"})


class RecoveryCodes(MfRecoveryCodesUtil):
    """Flask-Security's codes, hashed."""

    def create_recovery_codes(self, user: Any) -> list[str]:
        """Replace the codes of an account; return them, for the only time."""
        codes = new_codes()
        _datastore().mf_set_recovery_codes(user, [hash_code(code) for code in codes])
        return codes

    def get_recovery_codes(self, user: Any) -> list[str]:
        """Return none: only their hashes are known."""
        return []

    def check_recovery_code(self, user: Any, code: str) -> bool:
        """Return whether this is an unused code of the account."""
        typed = hash_code(code)
        return any(hmac.compare_digest(typed, digest) for digest in user.mf_recovery_codes or [])

    def delete_recovery_code(self, user: Any, code: str) -> bool:
        """Use up a code.

        :raises Conflict: another request has used it.
        """
        return bool(_datastore().use_recovery_code(user, hash_code(code)))


def _datastore() -> Any:
    return current_app.extensions["security"].datastore


def new_codes() -> list[str]:
    """Return new codes such as ``7k3m-9x2p-f4wd-8hqz-n5tr-c0vj``."""
    return [_new_code() for _number in range(CODES)]


def _new_code() -> str:
    code = "".join(secrets.choice(ALPHABET) for _place in range(LENGTH))
    return "-".join(code[start : start + 4] for start in range(0, LENGTH, 4))


def hash_code(code: str) -> str:
    """Return the keyed hash of a code, of which only letters and digits count, in any case."""
    plain = "".join(filter(str.isalnum, code)).casefold().translate(_MISREAD)
    return hmac.digest(crypto.key(current_app, "recovery codes"), plain.encode(), "sha256").hex()


def show_first_codes(response: Response) -> Response:
    """Show the codes that pairing has made before the page to which it leads."""
    if codes := g.pop("first_codes", None):
        page = render_template(
            "security/mf_recovery_codes.html", recovery_codes=codes, next=response.location
        )
        response.set_data(page)
        response.status_code, response.mimetype = 200, "text/html"
        del response.headers["Location"]
    return response
