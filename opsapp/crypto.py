"""Encryption of texts, under keys that are derived from the secret that is never changed.

That is the pepper (``SECURITY_PASSWORD_SALT``), since every password hash depends on it; what is
sealed must outlive other keys' rotation. An application with accounts of its own has its own
pepper, so there the audit's key is the one that stays.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from flask import Flask, current_app

from . import settings
from .state import is_built_on


def name_of_secret(app: Flask) -> str:
    """Return the setting from which the keys are derived."""
    return "SECURITY_PASSWORD_SALT" if is_built_on(app) else "OPSAPP_AUDIT_KEY"


def key(app: Flask, purpose: str) -> bytes:
    """Return a key for one purpose: 32 bytes, URL-safe base64, as Fernet takes it."""
    secret = str(settings.of(app, name_of_secret(app))).encode()
    derived = hmac.digest(secret, f"opsapp/{purpose}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(derived)


def seal(text: str, purpose: str) -> str:
    """Return ``text`` encrypted and authenticated (Fernet)."""
    from cryptography.fernet import Fernet

    return Fernet(key(current_app, purpose)).encrypt(text.encode()).decode()


def unseal(sealed: str, purpose: str) -> str:
    """Return the text that was sealed.

    :raises cryptography.fernet.InvalidToken: it was edited, or sealed under another pepper.
    """
    from cryptography.fernet import Fernet

    return Fernet(key(current_app, purpose)).decrypt(sealed.encode()).decode()
