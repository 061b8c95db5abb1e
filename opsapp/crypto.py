"""Encryption of texts, under keys that are derived from the pepper.

The pepper (``SECURITY_PASSWORD_SALT``) is the secret that is never changed, since
every password hash depends on it; what is sealed must outlive other keys' rotation.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from flask import Flask, current_app


def key(app: Flask, purpose: str) -> bytes:
    """Return a key for one purpose: 32 bytes, URL-safe base64, as Fernet takes it."""
    pepper = str(app.config["SECURITY_PASSWORD_SALT"]).encode()
    derived = hmac.digest(pepper, f"opsapp/{purpose}".encode(), hashlib.sha256)
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
