"""E-mail addresses: the one form in which they are stored, looked up, compared and mailed to."""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import urlsplit

from . import text
from .errors import Invalid

LONGEST = 254
_PLAIN = re.compile(
    r"[a-z0-9]+(?:[._+-][a-z0-9]+)*@((?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,})"
)
"""Addresses without anything that has to be looked at closely, once they are in small letters."""
_TARGET = re.compile(r"[^@\s]{1,64}@[^@\s]{1,255}")
_ENCODED_LABEL = re.compile(r"(?<![^.@])xn--[a-z0-9-]+")


def canonical(value: str) -> str:
    """Return the form in which two spellings of one address, or of one username, are equal.

    It is case folded and in Unicode form NFKC; a domain is in Unicode, since
    ``müller.example`` and ``xn--mller-kva.example`` are the same one. Hostile characters stay,
    though a domain may have soft hyphens: no stored address has one, so none is found by it.
    """
    if value.isascii() and "xn--" not in value.lower():
        return value.lower()
    if not value.isprintable():
        return text.canonical(value)
    name, at, domain = value.rpartition("@")
    return text.canonical(name) + at + _in_unicode(domain) if at else _decode(value)


def _in_unicode(domain: str) -> str:
    """Return the domain as people read it; what is none is only case folded."""
    import idna

    try:
        return idna.decode(idna.encode(domain, uts46=True))
    except (idna.IDNAError, UnicodeError):
        return text.canonical(domain)


def _decode(part: str) -> str:
    """Part of an address or a username, with each label of a domain in Unicode."""
    return _ENCODED_LABEL.sub(lambda label: _in_unicode(label[0]), text.canonical(part))


def clean(value: str, field: str = "e-mail") -> str:
    """Return ``value`` as the canonical address.

    :param field: what the person calls it; the error names it.
    :raises Invalid: it is not an address, or has hostile characters.
    """
    if len(value) <= _LONGEST_NAME and value.isascii():
        # Of a million addresses nearly all are like this, and the library takes 40 µs for each.
        plain = _PLAIN.fullmatch(value.lower())
        if plain and _is_plain_domain(plain[1]):
            return plain[0]
    return _clean_closely(value, field)


_LONGEST_NAME = 64
"""Characters before the ``@``."""


@lru_cache(4096)
def _is_plain_domain(domain: str) -> bool:
    """Return whether an address of this domain is valid, and canonical in small letters."""
    try:
        return _clean_closely(f"x@{domain}", "e-mail") == f"x@{domain}"
    except Invalid:
        return False


def _clean_closely(value: str, field: str) -> str:
    from email_validator import EmailNotValidError, validate_email

    value = text.validate(value, field, longest=LONGEST)
    try:
        parsed = validate_email(value, check_deliverability=False)
    except EmailNotValidError as error:
        raise Invalid(f"{field} {text.truncate(value)}: {error}") from error
    address = canonical(parsed.normalized)
    if address.rpartition("@")[0] != parsed.local_part.lower():
        # One form is kept, and mail is sent to it: it must be the same mailbox.
        raise Invalid(f"{field} {text.truncate(value)} looks the same as {address}")
    return address


def mailbox(address: str) -> str:
    """Return the address as a mail server takes it, its domain in ASCII.

    The name before the ``@`` may still need a server that offers SMTPUTF8.
    """
    import idna

    name, at, domain = address.rpartition("@")
    try:
        return name + at + idna.encode(domain, uts46=True).decode()
    except (idna.IDNAError, UnicodeError):
        return address


def targets(value: str) -> tuple[str, ...]:
    """Return the targets of alerts in ``value``: addresses and URLs, divided by spaces or commas.

    :raises ValueError: one is neither an address nor an http(s) URL; it is not repeated, since
        such a URL is a secret.
    """
    words = tuple(word for word in re.split(r"[\s,]+", value) if word)
    for number, word in enumerate(words, start=1):
        if not (is_url(word) or is_mailbox(word)) or text.safe(word) != word:
            raise ValueError(f"entry {number} is neither an address nor an http(s) URL")
    return words


def is_mailbox(value: str) -> bool:
    """Return whether ``value`` has the form ``name@host``; an application may ask for more."""
    return _TARGET.fullmatch(value) is not None


def is_url(target: str) -> bool:
    """Return True for an http(s) URL, False for an address."""
    try:
        parts = urlsplit(target)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
