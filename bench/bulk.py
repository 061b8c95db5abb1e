"""Changes of very many accounts: ``python -m bench.bulk [--postgresql]``.

Each row is a whole command over 100,000 accounts that a filter chooses, with its audit
events. Beside them is what an operator would type instead: a command for each account, of
which twenty are measured. `roles apply` and `db copy`, into PostgreSQL, run on the same accounts.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import sqlalchemy as sa

from opsapp.textfiles import LONGEST

from .installation import (
    Installation,
    add_accounts,
    postgresql,
    postgresql_server,
    sqlite,
    workspace,
)
from .measure import Program, Row, compile_everything, once, say, show

COUNT = 100_000
LIMIT = 5.0
"""Seconds of a role to 100,000 accounts."""
FEW = 20
MB = 1_000_000


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.bulk", description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    parser.add_argument("--accounts", type=int, default=COUNT, help="to change, up to 980,000")
    options = parser.parse_args()
    compile_everything()
    database = "PostgreSQL" if options.postgresql else "SQLite"
    with workspace() as folder, postgresql_server(folder) as server:
        big = postgresql(server, folder, "big") if options.postgresql else sqlite(folder, "big")
        rows = _measure(big, server, options.accounts, folder)
    return show(f"{options.accounts:,} accounts at once, on {database}", rows)


def _measure(big: Installation, server: str, count: int, folder: Path) -> list[Row]:
    say(f"writing {count:,} accounts …")
    add_accounts(big, count * 50 // 49)  # One of fifty is deleted.
    once(big.flask("roles", "create", "reader", "-q"))
    everyone = ("--created-since", "2000-01-01", "--yes", "-q")
    members = ("--without-role", "admin", *everyone)
    file = folder / "roles.toml"
    return [
        _row("roles grant", big.flask("roles", "grant", "reader", *everyone), LIMIT),
        _row("the same again: changes nothing", big.flask("roles", "grant", "reader", *everyone)),
        _each(big, count),
        _row("roles export --grants", big.flask("roles", "export", "--grants"), into=file),
        *_applying(big, file),
        _row("roles review start", big.flask("roles", "review", "start", "-q")),
        _row("db copy", _copying(big, server, folder)),
        _row("roles revoke", big.flask("roles", "revoke", "reader", *everyone)),
        _row("users deactivate", big.flask("users", "deactivate", *members)),
        _row("users delete", big.flask("users", "delete", *members)),
    ]


def _copying(big: Installation, server: str, folder: Path) -> Program:
    """Return the command that copies into a new PostgreSQL database."""
    with Installation(server.format("postgres"), folder).connect(
        isolation_level="AUTOCOMMIT"
    ) as connection:
        connection.execute(sa.text("CREATE DATABASE target"))
    target = Installation(server.format("target").replace(":@", "@"), big.instance)
    once(target.flask("db", "init"))
    # The accounts were written by SQL, which the verification at the end finds.
    return replace(big.flask("db", "copy", "--to", target.url, "--yes", "-q"), exit_code=6)


def _row(
    what: str, program: Program, limit: float | None = None, *, into: Path | None = None
) -> Row:
    say(f"{what} …")
    cost = once(program)
    if into is not None:
        into.write_bytes(cost.stdout)
    figure = f"{cost.wall:.1f} s ({cost.cpu:.1f} s CPU, {cost.peak / MB:.0f} MB)"
    if limit is None:
        return Row(what, figure)
    return Row(what, figure, f"≤ {limit:g} s", cost.wall <= limit)


def _applying(big: Installation, file: Path) -> list[Row]:
    """Compare the roles with their file, unless it is longer than such a file may be."""
    if file.stat().st_size > LONGEST:
        return []
    return [
        _row("roles apply --check", big.flask("roles", "apply", str(file), "--prune", "--check"))
    ]


def _each(big: Installation, count: int) -> Row:
    """Measure a command for each account, as a loop of the shell has them."""
    started = perf_counter()
    for id in range(1, FEW + 1):
        once(big.flask("roles", "grant", "auditor", str(id), "--replace-end", "-q"))
    seconds = (perf_counter() - started) / FEW * count
    return Row("a command for each account instead", f"{seconds / 3600:.1f} h")


if __name__ == "__main__":
    sys.exit(main())
