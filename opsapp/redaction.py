"""Secrets taken out of what a program printed, and of tracebacks: known values and likely ones."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from .settings import SETTINGS
from .values import Unread

HIDDEN = "•••"
SHORTEST = 6
"""A shorter value would be found in innocent words."""

_TELLING = re.compile(
    r"passw|passphrase|secret|token|credential|api_?key|private_?key|salt$|_key$|_dsn$|_url$", re.I
)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@]{0,256}:)[^\s@]{1,256}@", re.I)
_NAMED = re.compile(
    r"((?:[a-z0-9]{1,40}[_-]){0,4}"
    r"(?:passw(?:or)?d|pwd|passphrase|secret|token|api[_-]?key|secret[_-]?key|private[_-]?key)"
    r"(?:[\"']?\s{0,3}(?:=|:|=>)\s{0,3}))"
    r"(\"[^\"]*\"?|'[^']*'?|[^\s\"',;&]+)",
    re.I,
)
_OPTION = re.compile(r"(--?(?:password|passwd|token|secret|api-key)\s)(\S+)", re.I)
_BEARER = re.compile(r"(\b(?:bearer|basic)\s{1,3})[A-Za-z0-9._~+/=-]{8,}", re.I)
_KEY_BLOCK = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.S
)


def secret_values(environ: Mapping[str, str], known: Iterable[object]) -> tuple[str, ...]:
    """The values to hide, the longest first: those known, and of telling names of ``environ``."""
    named = (value for name, value in environ.items() if _TELLING.search(name))
    values = {line for value in (*known, *named) if value for line in _parts(str(value))}
    return tuple(sorted((one for one in values if len(one) >= SHORTEST), key=len, reverse=True))


def _parts(value: str) -> Iterable[str]:
    """A URL's secret is its password; of other values every line is one."""
    if "://" in value:
        found = re.match(r"[^:]+://[^:@/]*:([^@]+)@", value)
        return [found.group(1)] if found else []
    return value.splitlines()


def redacted_words(words: Sequence[str], secrets: Iterable[str] = ()) -> list[str]:
    """A command line with its secrets hidden, the word after ``--password`` for one."""
    before = ["", *words]
    return [
        HIDDEN if _is_telling_option(option) else redacted(word, secrets)
        for option, word in zip(before, words, strict=False)
    ]


def _is_telling_option(word: str) -> bool:
    return word.startswith("-") and "=" not in word and bool(_TELLING.search(word))


def redacted(text: str, secrets: Iterable[str] = ()) -> str:
    """``text`` with ``•••`` where a secret was."""
    for secret in secrets:
        text = text.replace(secret, HIDDEN)
    text = _KEY_BLOCK.sub(HIDDEN, text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    text = _NAMED.sub(rf"\1{HIDDEN}", text)
    text = _OPTION.sub(rf"\1{HIDDEN}", text)
    return _BEARER.sub(rf"\1{HIDDEN}", text)


def redacted_traceback(error: BaseException) -> str:
    """The traceback of ``error`` without the values of secret settings and the passwords of URLs.

    What only looks like a secret stays: in lines of code it is a name.
    """
    shown = "".join(traceback.format_exception(error))
    for setting in SETTINGS:
        value = os.environ.get(setting.name, "") if setting.secret else ""
        if len(value) >= SHORTEST:
            shown = shown.replace(value, HIDDEN)
    return _IN_URL.sub(rf"\1{HIDDEN}@", shown)


HIDDEN = "•••"

_NAMES = re.compile(
    r"password|passwd|passphrase|secret|uniquifier|recovery_codes|api_?key|private_?key|"
    r"access_?key|^key$|^salt$|credential|(^|_)token(_hash)?$",
    re.IGNORECASE,
)
_MEMBERS = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_HASHES = re.compile(r"\$(?:argon2|2[aby]|pbkdf2|scrypt)[\w-]*\$")


def is_secret_name(name: str) -> bool:
    """Whether a column of this name holds a secret, as far as its name tells."""
    return _NAMES.search(name) is not None


def is_secret_column(column: Any) -> bool:
    """Whether a mapped column holds a secret: its ``info`` decides, else its name."""
    declared = column.info.get("secret")
    return is_secret_name(column.name) if declared is None else bool(declared)


def veiled(name: str, value: Any) -> Any:
    """``value`` of the column ``name``, or ``•••`` where it is a secret; JSON is looked into."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret_name(name) or looks_secret(value) or _names_secret(value):
        return HIDDEN
    match value:
        case dict():
            return {key: veiled(str(key), item) for key, item in value.items()}
        case list():
            return [veiled(name, item) for item in value]
    return value


def _names_secret(value: Any) -> bool:
    """Whether JSON that was not taken apart has a member with a secret's name."""
    return isinstance(value, Unread) and any(map(is_secret_name, _MEMBERS.findall(value)))


def looks_secret(value: Any) -> bool:
    """Whether a text has the hash of a password in it, under whatever name it comes."""
    return isinstance(value, str) and "$" in value and _HASHES.search(value) is not None
