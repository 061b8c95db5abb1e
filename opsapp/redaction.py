"""Redaction: secrets hidden in columns, output and tracebacks, by name and by value."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from flask import current_app, has_app_context

from .settings import SETTINGS
from .values import Unread

HIDDEN = "•••"
SET = "set"
"""The audit log's word for a secret that is there."""
SHORTEST = 6
"""The least characters of a secret value; a shorter one also occurs in harmless words."""

_SECRET_NAME = re.compile(
    r"(?<!must_change_)passw|passphrase|secret|credential|uniquifier|recovery_codes"
    r"|(?:api|private|access)_?key|token(?:_hash)?$|_pwd$|^key$|(?:^|_)salt$",
    re.IGNORECASE,
)
_PARTLY_SECRET_NAME = re.compile(r"token|salt$|_(?:key|dsn|url)$", re.IGNORECASE)
"""Names of variables that may hold a secret, and of columns that usually hold none."""

_MEMBERS = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_HASHES = re.compile(r"\$(?:argon2|2[aby]|pbkdf2|scrypt)[\w-]*\$")

# --- by name -----------------------------------------------------------------


def is_secret_name(name: str) -> bool:
    """Return whether a column, variable or option of this name holds a secret."""
    return _SECRET_NAME.search(name.replace("-", "_")) is not None


def is_secret_column(column: Any) -> bool:
    """Return whether a mapped column holds a secret: its ``info`` decides, else its name."""
    declared = getattr(column, "info", {}).get("secret")  # An expression has no info.
    return is_secret_name(column.name) if declared is None else bool(declared)


def mask(name: str, value: Any) -> Any:
    """Return ``value`` of the column ``name``, with ``•••`` for secrets, also inside of JSON."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name) or looks_secret(value) or _names_secret(value):
        return HIDDEN
    match value:
        case dict():
            return {key: mask(str(key), item) for key, item in value.items()}
        case list():
            return [mask(name, item) for item in value]
    return value


def _names_secret(value: Any) -> bool:
    """Return whether JSON in its text form has a member with a secret's name."""
    return isinstance(value, Unread) and any(map(is_secret_name, _MEMBERS.findall(value)))


def looks_secret(value: Any) -> bool:
    """Return whether a text contains the hash of a password."""
    return isinstance(value, str) and "$" in value and _HASHES.search(value) is not None


# --- by value, in text -------------------------------------------------------

_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}:)[^\s@]{1,256}@", re.IGNORECASE)
_NAMED = re.compile(
    r"((?:[a-z0-9]{1,40}[_-]){0,4}"
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|(?:api|secret|private)[_-]?key)"
    r"(?:[\"']?\s{0,3}(?:=|:|=>)\s{0,3}))"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s\"',;&]+)",
    re.IGNORECASE,
)
_OPTION = re.compile(r"(--?(?:password|passwd|token|secret|api-key)\s)(\S+)", re.IGNORECASE)
_BEARER = re.compile(r"(\b(?:bearer|basic)\s{1,3})[A-Za-z0-9._~+/=-]{8,}", re.IGNORECASE)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL
)


def secret_values(environ: Mapping[str, str], extra: Iterable[object]) -> tuple[str, ...]:
    """Return the values to hide, the longest first: ``extra``, and the secrets of ``environ``."""
    secrets = (value for name, value in environ.items() if _may_be_secret(name))
    values = {part for value in (*extra, *secrets) if value for part in _parts(str(value))}
    long = (value for value in values if len(value) >= SHORTEST)
    return tuple(sorted(long, key=len, reverse=True))


def _may_be_secret(name: str) -> bool:
    return is_secret_name(name) or _PARTLY_SECRET_NAME.search(name.replace("-", "_")) is not None


def _parts(value: str) -> Iterable[str]:
    """Return the password of a URL as it is written and as it is, else each line of the value."""
    if "://" in value:
        match = re.match(r"[^:]+://[^:@/]*:([^@]+)@", value)
        # A driver's message has it as it is.
        return {match.group(1), unquote(match.group(1))} if match else ()
    return value.splitlines()


def redact_words(words: Sequence[str], secrets: Iterable[str] = ()) -> list[str]:
    """Return a command line with its secrets hidden, such as the word after ``--password``."""
    before = ["", *words]
    return [
        HIDDEN if _takes_secret(option) else redact(word, secrets)
        for option, word in zip(before, words, strict=False)
    ]


def _takes_secret(word: str) -> bool:
    return word.startswith("-") and "=" not in word and _may_be_secret(word)


def redact(text: str, secrets: Iterable[str] = ()) -> str:
    """Return ``text`` with ``•••`` for each secret."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _KEY_BLOCK.sub(HIDDEN, text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    text = _OPTION.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text)


def redact_traceback(error: BaseException) -> str:
    """Return the traceback of ``error`` without secret settings and the passwords of URLs.

    Names that look secret stay: in lines of code they are only names.
    """
    report = "".join(traceback.format_exception(error))
    values = [value for value in _secret_settings() if len(value) >= SHORTEST]
    # As a whole first: an address of alerts is a secret without a password in it.
    for value in (*values, *secret_values({}, values)):
        report = report.replace(value, HIDDEN)
    return _IN_URL.sub(rf"\1{HIDDEN}@", report)


def _secret_settings() -> Iterator[str]:
    """Yield what the environment and ``app.config`` say of the settings that are secrets."""
    for setting in SETTINGS:
        if setting.secret:
            yield os.environ.get(setting.name, "")
            if has_app_context():
                # An attached application has its own URL under the one, and ours under the other.
                for name in {setting.key or setting.name, setting.config_key()}:
                    yield str(current_app.config.get(name) or "")
