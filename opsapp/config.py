"""What the settings mean: the environment over ``.env`` over the defaults.

Every setting is one entry of :data:`opsapp.settings.SETTINGS`; ``flask doctor`` lists them.
Secrets are made in the instance folder in development, and must come from
outside, strong, anywhere else.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from . import libpq, textfiles
from .errors import NotReady

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "opsapp"
DEVELOPMENT = "development"
PRODUCTION = "production"
SHORTEST_SECRET = 32
"""Bytes; OWASP ASVS asks for 128 bits of entropy, which 32 random characters hold."""

LONGEST_SECRET = 65_536
"""Bytes of a secret's file."""

SECRETS = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")


def environment(environ: Mapping[str, str] = os.environ) -> str:
    """The environment's name, ``OPSAPP_ENV``."""
    return environ.get("OPSAPP_ENV") or DEVELOPMENT


def instance_folder(environ: Mapping[str, str] = os.environ) -> Path:
    """Where this installation keeps its files; it need not exist yet."""
    if named := environ.get("OPSAPP_INSTANCE"):
        return Path(named).resolve()
    if (ROOT / ".flaskenv").exists():
        return ROOT / "instance"
    from platformdirs import user_state_path

    return user_state_path("opsapp")


def database_url(environ: Mapping[str, str] = os.environ) -> str:
    """The database's URL, its password included: never print it.

    The schemes of old (``postgres://``) and of other drivers' habits are
    brought to SQLAlchemy's ``postgresql+psycopg://``.
    """
    url = environ.get("OPSAPP_DATABASE_URL") or environ.get("DATABASE_URL")
    if not url:
        return "sqlite:///" + quote(str(instance_folder(environ) / "opsapp.sqlite"))
    return modern_url(url)


def modern_url(url: str) -> str:
    """The URL with a scheme that SQLAlchemy knows, and with hosts as it and libpq spell them."""
    for prefix in ("postgres://", "postgresql://", "postgresql+psycopg://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + libpq.spelled(url.removeprefix(prefix))
    return url


def statement_timeout(environ: Mapping[str, str] = os.environ) -> float:
    """Seconds after which PostgreSQL gives up a statement.

    :raises NotReady: ``OPSAPP_STATEMENT_TIMEOUT`` is not a number, or is negative.
    """
    given = environ.get("OPSAPP_STATEMENT_TIMEOUT") or "30"
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < 2_000_000:
        raise NotReady(f"OPSAPP_STATEMENT_TIMEOUT {given!r} is not a number of seconds")
    return seconds


def migrations_folder() -> Path:
    """The Alembic folder that ships with opsapp, absolute."""
    in_wheel = PACKAGE / "_shipped" / "migrations"
    return in_wheel if in_wheel.is_dir() else ROOT / "migrations"


def secret(name: str, environ: Mapping[str, str] = os.environ) -> str:
    """The secret ``name``: from the environment, its ``_FILE``, or (development) made once.

    :raises NotReady: it is missing outside development, unreadable, or weak.
    """
    value = environ.get(name) or _from_file(name, environ.get(f"{name}_FILE"))
    if value:
        if environment(environ) != DEVELOPMENT:
            _refuse_weak(name, value)
        return value
    if environment(environ) != DEVELOPMENT:
        raise NotReady(
            f"{name} is not set, and OPSAPP_ENV is {environment(environ)}",
            hint=_NEW,
        )
    return _generated(instance_folder(environ) / "secrets" / name.lower())


def _from_file(name: str, file: str | None) -> str | None:
    if not file:
        return None
    try:
        if not Path(file).is_file():  # A pipe would keep every command waiting.
            hint = _NEW if name in SECRETS else None
            raise NotReady(f"{name}_FILE {file} is not a file", hint=hint)
        return textfiles.read(file, longest=LONGEST_SECRET).strip()
    except textfiles.NotUtf8 as error:
        raise NotReady(f"{name}_FILE {file} is not text, but raw bytes", hint=_NEW) from error
    except textfiles.NotText as error:
        raise NotReady(f"{name}_FILE {file} {error}", hint=_NEW) from error
    except OSError as error:
        raise NotReady(f"{name}_FILE cannot be read: {error}") from error


def _refuse_weak(name: str, value: str) -> None:
    if len(value.encode()) < SHORTEST_SECRET:
        length = len(value.encode())
        raise NotReady(f"{name} is {length} bytes long; {SHORTEST_SECRET} are needed", hint=_MAKE)
    if len(set(value)) < 10:
        raise NotReady(f"{name} repeats a few characters; it must be random", hint=_MAKE)


_MAKE = 'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
# An old installation needs its old ones: a new pepper locks everybody out.
_NEW = f"for a new installation: {_MAKE}"


def _generated(path: Path) -> str:
    """The secret kept in ``path``, made on first need, the same for every racing process.

    :raises NotReady: it cannot be made or read, or somebody emptied it.
    """
    try:
        if not path.exists():
            _generate(path)
        value = textfiles.read(path, longest=LONGEST_SECRET).strip()
    except OSError as error:
        raise NotReady(f"the secret {path} cannot be read or made: {error}") from error
    except textfiles.NotText as error:
        raise NotReady(f"the secret {path} {error}", hint="restore the file") from error
    if len(value) < SHORTEST_SECRET:
        raise NotReady(f"the secret {path} is not what was generated", hint="restore the file")
    return value


def _generate(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(8)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_urlsafe(48).encode())
        file.flush()
        os.fsync(file.fileno())
    # A link appears whole or not at all, and only the first one succeeds.
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


def flask_settings(environ: Mapping[str, str] = os.environ) -> dict[str, object]:
    """What the Flask application is configured with.

    :raises NotReady: a secret is missing or weak outside development, or a setting is not
        what it may be.
    """
    found = {name: secret(name, environ) for name in SECRETS}
    if len(set(found.values())) < len(found):
        raise NotReady(f"{', '.join(found)} must differ from each other", hint=_MAKE)
    return {
        **found,
        "OPSAPP_ENV": environment(environ),
        "APP_NAME": environ.get("OPSAPP_NAME") or "opsapp",
        "OPSAPP_URL": url(environ),
        "OPSAPP_PROXIES": _number("OPSAPP_PROXIES", 0, environ),
        "OPSAPP_REGISTRATION": _switch("OPSAPP_REGISTRATION", False, environ),
        "OPSAPP_TWO_FACTOR": _choice("OPSAPP_TWO_FACTOR", TWO_FACTOR, environ),
        "OPSAPP_SESSION_HOURS": _number("OPSAPP_SESSION_HOURS", 12, environ),
        "OPSAPP_NOTICES": _switch("OPSAPP_NOTICES", True, environ),
        "OPSAPP_PROFILING": _switch("OPSAPP_PROFILING", True, environ),
        "OPSAPP_METRICS": _switch("OPSAPP_METRICS", False, environ),
        "OPSAPP_REPEATS_ALLOWED": environ.get("OPSAPP_REPEATS_ALLOWED") or "",
        "RATELIMIT_STORAGE_URI": environ.get("RATELIMIT_STORAGE_URI") or "memory://",
        "SQLALCHEMY_DATABASE_URI": database_url(environ),
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
        **_mail_settings(environ),
    }


TWO_FACTOR = ("optional", "admins", "everybody")
MAIL_SECONDS = 10


def _mail_settings(environ: Mapping[str, str]) -> dict[str, object]:
    """Flask-Mailman's settings: a server, or the folder of development."""
    server = environ.get("MAIL_SERVER")
    if server and server.count(":") == 1:
        raise NotReady(f"MAIL_SERVER {server!r} is not a host name; MAIL_PORT has the port")
    to_folder = not server and environment(environ) == DEVELOPMENT
    host = urlsplit(url(environ) or "").hostname or "localhost"
    return {
        "MAIL_BACKEND": "opsapp.mail.backends.FileEmailBackend"
        if to_folder
        else "opsapp.mail.backends.SMTPEmailBackend",
        "MAIL_FILE_PATH": str(instance_folder(environ) / "mail"),
        "MAIL_SERVER": server,
        "MAIL_PORT": _number("MAIL_PORT", 25, environ),
        "MAIL_USE_TLS": _switch("MAIL_USE_TLS", False, environ),
        "MAIL_USE_SSL": _switch("MAIL_USE_SSL", False, environ),
        "MAIL_USERNAME": environ.get("MAIL_USERNAME"),
        "MAIL_PASSWORD": environ.get("MAIL_PASSWORD")
        or _from_file("MAIL_PASSWORD", environ.get("MAIL_PASSWORD_FILE")),
        "MAIL_DEFAULT_SENDER": environ.get("MAIL_DEFAULT_SENDER") or f"no-reply@{host}",
        "MAIL_TIMEOUT": MAIL_SECONDS,
    }


def url(environ: Mapping[str, str] = os.environ) -> str | None:
    """Where people reach the application: scheme, host in ASCII, port; no slash at its end.

    :raises NotReady: ``OPSAPP_URL`` is no such address.
    """
    given = environ.get("OPSAPP_URL")
    if not given:
        return None
    try:
        return _origin(given)
    except ValueError as error:
        message = f"OPSAPP_URL {given!r} is not of the form https://ops.example.com"
        raise NotReady(message) from error


def _origin(given: str) -> str:
    parts = urlsplit(given.rstrip("/"))
    host = (parts.hostname or "").encode("idna").decode()
    beside = parts.path or parts.query or parts.fragment or "@" in parts.netloc
    if parts.scheme not in ("http", "https") or not host or host.startswith(".") or beside:
        raise ValueError(given)
    port = f":{parts.port}" if parts.port is not None else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _number(name: str, default: int, environ: Mapping[str, str]) -> int:
    given = environ.get(name) or str(default)
    if not (given.isascii() and given.isdigit() and len(given) < 6):
        raise NotReady(f"{name} {given!r} is not a whole number")
    return int(given)


def _switch(name: str, default: bool, environ: Mapping[str, str]) -> bool:
    given = (environ.get(name) or ("on" if default else "off")).lower()
    if given not in _SWITCH:
        raise NotReady(f"{name} {given!r} is neither on nor off")
    return _SWITCH[given]


_SWITCH = {
    **dict.fromkeys(("on", "1", "true", "yes"), True),
    **dict.fromkeys(("off", "0", "false", "no"), False),
}


def _choice(name: str, choices: tuple[str, ...], environ: Mapping[str, str]) -> str:
    given = environ.get(name) or choices[0]
    if given not in choices:
        raise NotReady(f"{name} {given!r} is none of {', '.join(choices)}")
    return given
