"""Extras: the optional dependencies, by the extra that installs each."""

from __future__ import annotations

from .errors import NotReady

EXTRAS = {
    **dict.fromkeys(
        (
            "apispec",
            "argon2",
            "dotenv",
            "email_validator",
            "flask_login",
            "flask_security",
            "flask_smorest",
            "flask_wtf",
            "idna",
            "limits",
            "marshmallow",
            "passlib",
            "webargs",
            "wtforms",
            "zxcvbn",
        ),
        "accounts",
    ),
    **dict.fromkeys(("cryptography", "flask_mailman"), "mail"),
    **dict.fromkeys(("prometheus_client", "pyinstrument"), "profile"),
    "psycopg": "postgresql",
    "redis": "redis",
    "backports": "zstd",
}
"""The extras of pyproject.toml, by the packages that opsapp imports of them."""


def missing(error: BaseException) -> NotReady | None:
    """Return the error to report for an import that failed, if an extra has the package."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    package = error.name.partition(".")[0]
    extra = EXTRAS.get(package)
    if extra is None:
        return None
    return NotReady(
        f"this needs {package}, which is not installed", hint=f"pip install 'opsapp[{extra}]'"
    )
