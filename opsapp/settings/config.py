"""Configuration: ``app.config``, and the settings that many modules ask for.

Every setting is one entry of :data:`opsapp.settings.SETTINGS`; ``flask doctor`` lists them.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import NotReady
from . import SECRETS, get, secret_files
from .declared import ROOT as ROOT
from .setting import DEVELOPMENT as DEVELOPMENT
from .setting import PRODUCTION as PRODUCTION

PACKAGE = ROOT / "opsapp"
MAIL_SECONDS = 10
_OF_THE_APP = (
    *("OPSAPP_ENV", "OPSAPP_URL", "OPSAPP_PROXIES", "OPSAPP_REGISTRATION", "OPSAPP_TWO_FACTOR"),
    *(
        "OPSAPP_SESSION_HOURS",
        "OPSAPP_SESSION_IDLE",
        "OPSAPP_NOTICES",
        "OPSAPP_PROFILING",
        "OPSAPP_METRICS",
    ),
    *("OPSAPP_REPEATS_ALLOWED", "RATELIMIT_STORAGE_URI"),
    *("MAIL_SERVER", "MAIL_PORT", "MAIL_USE_TLS", "MAIL_USE_SSL", "MAIL_USERNAME"),
    *("MAIL_PASSWORD", "MAIL_DEFAULT_SENDER"),
)
"""The settings that ``app.config`` has by their names."""


def environment() -> str:
    """Return the environment's name, ``OPSAPP_ENV``."""
    return str(get("OPSAPP_ENV"))


def instance_folder() -> Path:
    """Return the folder for the files of this installation; it need not exist yet."""
    return Path(get("OPSAPP_INSTANCE"))


def migrations_folder() -> Path:
    """Return the Alembic folder that ships with opsapp, absolute."""
    in_wheel = PACKAGE / "_shipped" / "migrations"
    return in_wheel if in_wheel.is_dir() else ROOT / "migrations"


def flask_settings() -> dict[str, object]:
    """Return the configuration of a new Flask application.

    :raises NotReady: a secret is missing or weak outside development, or a setting is not of
        its form.
    """
    secrets = {name: get(name) for name in SECRETS}
    if len(set(secrets.values())) < len(secrets):
        hint = secret_files.MAKE
        raise NotReady(f"{', '.join(secrets)} must differ from each other", hint=hint)
    return {
        **secrets,
        **{name: get(name) for name in _OF_THE_APP},
        "APP_NAME": get("OPSAPP_NAME"),
        "SQLALCHEMY_DATABASE_URI": get("OPSAPP_DATABASE_URL"),
        # Only argon2: Flask-Security's own list ends in plain text.
        "SECURITY_PASSWORD_HASH": "argon2",
        "SECURITY_PASSWORD_SCHEMES": ["argon2"],
        "SECURITY_DEPRECATED_PASSWORD_SCHEMES": [],
        "SECURITY_PASSWORD_LENGTH_MIN": 12,
        "SECURITY_PASSWORD_COMPLEXITY_CHECKER": "zxcvbn",
        "SECURITY_EMAIL_VALIDATOR_ARGS": {"check_deliverability": False},
        # Flask-Security's own commands would change accounts without audit.
        "SECURITY_CLI_USERS_NAME": None,
        "SECURITY_CLI_ROLES_NAME": None,
        "MAIL_BACKEND": f"opsapp.mail.backends.{_mail_backend()}",
        "MAIL_FILE_PATH": str(instance_folder() / "mail"),
        "MAIL_TIMEOUT": MAIL_SECONDS,
    }


def _mail_backend() -> str:
    is_folder = get("MAIL_SERVER") is None and environment() == DEVELOPMENT
    return "FileEmailBackend" if is_folder else "SMTPEmailBackend"
