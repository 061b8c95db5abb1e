"""The permissions that code asks for, each with its meaning.

A permission is ``noun:verb``. An application declares its own, so that help,
completion and did-you-mean know them; a role may hold one that is declared
nowhere yet, since roles are often prepared before the code is deployed.
"""

from __future__ import annotations

import re

from ..errors import Invalid
from ..text import did_you_mean, validate

_FORM = re.compile(r"[a-z][a-z0-9_-]*(:[a-z][a-z0-9_-]*)+")
LONGEST = 64

DECLARED: dict[str, str] = {}


def declare(name: str, meaning: str) -> str:
    """Add a permission to the vocabulary; returns its name.

    :raises Invalid: it is not of the form ``noun:verb``.
    """
    DECLARED[parse(name)] = meaning
    return name


def parse(name: str) -> str:
    """Return ``name``, if it has the form of a permission.

    :raises Invalid: it has not.
    """
    name = validate(name, "permission", longest=LONGEST)
    if not _FORM.fullmatch(name):
        raise Invalid(f"permission {name} is not of the form noun:verb, such as users:read")
    return name


def remark(names: tuple[str, ...]) -> str | None:
    """Return a remark on the first permission that looks misspelled; None if none does."""
    for name in names:
        near = None if name in DECLARED else did_you_mean(name, DECLARED, likeness=0.85)
        if near:
            return f"No code asks for {name}: {near}"
    return None


declare("users:read", "List and show accounts.")
declare("users:write", "Create, change, deactivate and delete accounts.")
declare("roles:read", "List and show roles and grants.")
declare("roles:write", "Create, change and delete roles.")
declare("roles:grant", "Grant and revoke roles whose permissions the user holds.")
declare("audit:read", "Read and verify the audit log.")
declare("profile:read", "Read profiles and metrics.")
declare("profile:run", "Have a request profiled, with X-Profile.")
