"""Modules that forked processes find imported: every module of opsapp, and what it imports late.

`flask` imports `opsapp.entrypoints` while it looks a command up, so that is not among them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).parents[2]
OF_LIBRARIES = (
    *("argon2", "cryptography.fernet", "dotenv.main", "email.policy", "psycopg", "zxcvbn"),
    *("flask.cli", "flask_migrate.cli", "flask_security.cli", "flask_sqlalchemy.cli"),
    *("flask_mailman.backends.file", "flask_mailman.backends.smtp"),
)


def _modules() -> Iterator[str]:
    """Yield every module of opsapp but those that do something when they are imported."""
    for package, folder in (("opsapp", "opsapp"), ("opsapp.commands", "commands")):
        for path in sorted((ROOT / folder).rglob("*.py")):
            names = path.relative_to(ROOT / folder).with_suffix("").parts
            name = ".".join((package, *names)).removesuffix(".__init__")
            if name not in ("opsapp.entrypoints", "opsapp.testing"):
                yield name


for name in (*OF_LIBRARIES, *_modules(), "tests.support"):
    import_module(name)
gc.freeze()  # A collection in a forked process would copy the pages of all these.
