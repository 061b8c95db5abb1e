"""Ready hashes of a file: those of this system, and those of others."""

from __future__ import annotations

import re

from ...errors import Invalid

START = "$argon2"
LONGEST = 255
LEAST_WORK = 35_840
"""KiB of memory × passes, of the weakest parameters that OWASP recommends."""
MOST_MEMORY = 2**20
"""KiB: each login takes as much."""
MOST_PASSES = 20
MOST_LANES = 64
LEAST_SALT, LEAST_HASH = 8, 16
"""Bytes."""

_FORM = re.compile(r"\$argon2id\$v=19\$m=\d{1,10},t=\d{1,10},p=\d{1,10}(\$[A-Za-z0-9+/]+){2}")
_FOREIGN = re.compile(
    r"\$[\w.-]+\$|\{\w+\}|(pbkdf2|scrypt|bcrypt|argon2|sha\d*|md5)[\w:-]*[$:]|[0-9a-f]{32,}$"
)


def validate(hash: str) -> str:
    """Return a hash that a login can verify at a reasonable cost.

    :raises Invalid: it is not argon2id, or its parameters are too weak or too expensive.
    """
    from argon2 import extract_parameters
    from argon2.exceptions import InvalidHashError

    if len(hash) > LONGEST or not _FORM.fullmatch(hash):
        raise Invalid("is not an argon2id hash, version 19")
    try:
        has = extract_parameters(hash)
    except InvalidHashError as error:
        raise Invalid("is not an argon2id hash, version 19") from error
    if has.salt_len < LEAST_SALT or has.hash_len < LEAST_HASH:
        raise Invalid("is a truncated argon2 hash")
    if has.memory_cost * has.time_cost < LEAST_WORK:
        raise Invalid(f"is a weak argon2 hash: m × t is below {LEAST_WORK:,} KiB")
    if (
        has.memory_cost > MOST_MEMORY
        or has.time_cost > MOST_PASSES
        or not 1 <= has.parallelism <= MOST_LANES
    ):
        limits = f"m ≤ {MOST_MEMORY}, t ≤ {MOST_PASSES}, p ≤ {MOST_LANES}"
        raise Invalid(f"is an argon2 hash that is too expensive to verify: {limits}")
    return hash


def is_foreign(password: str) -> bool:
    """Return whether it looks like a hash that another system has made."""
    return _FOREIGN.match(password) is not None
