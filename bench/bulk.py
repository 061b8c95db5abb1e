"""Changes of very many accounts: ``python -m bench.bulk [--postgresql]``.

Each row is a whole command over 100,000 accounts that a filter chooses, with its audit
events. Beside them is what an operator would type instead: a command for each account, of
which twenty are measured. `roles apply` and `db copy` run on the same accounts.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path
from time import perf_counter

from .installation import (
    Installation,
    add_accounts,
    postgresql,
    postgresql_server,
    sqlite,
    workspace,
)
from .measure import Cost, Program, Row, compile_everything, once, say, show

COUNT = 100_000
LIMIT = 5.0
"""Seconds of a role to 100,000 accounts."""
FEW = 20
MB = 1_000_000


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.bulk", description=__doc__)
    parser.add_argument("--postgresql", action="store_true", help="on PostgreSQL, not SQLite")
    parser.add_argument("--accounts", type=int, default=COUNT, help="to change at once")
    options = parser.parse_args()
    compile_everything()
    database = "PostgreSQL" if options.postgresql else "SQLite"
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        server = stack.enter_context(postgresql_server(folder))
        big = postgresql(server, folder, "big") if options.postgresql else sqlite(folder, "big")
        target = postgresql(server, big.instance.parent, "target")
        rows = _measured(big, target, options.accounts, folder)
    return show(f"{options.accounts:,} accounts at once, on {database}", rows)


def _measured(big: Installation, target: Installation, count: int, folder: Path) -> list[Row]:
    say(f"writing {count:,} accounts …")
    started = perf_counter()
    add_accounts(big, count * 50 // 49)  # One of fifty is deleted.
    say(f"{perf_counter() - started:.0f} s")
    _run(big.flask("roles", "create", "reader", "-q"))
    everyone = ("--created-since", "2000-01-01", "--yes", "-q")
    rows = [
        _row("roles grant reader", big.flask("roles", "grant", "reader", *everyone), LIMIT),
        _row("the same again: changes nothing", big.flask("roles", "grant", "reader", *everyone)),
        _each(big, count),
        _row("roles export --grants", big.flask("roles", "export", "--grants")),
    ]
    file = folder / "roles.toml"
    file.write_bytes(_run(big.flask("roles", "export", "--grants")).stdout)
    check = big.flask("roles", "apply", str(file), "--prune", "--check")
    rows += [
        _row("roles apply --check of that", check),
        _row("roles revoke reader", big.flask("roles", "revoke", "reader", *everyone)),
        _row("roles review start", big.flask("roles", "review", "start", "-q")),
        _row(
            "users deactivate",
            big.flask("users", "deactivate", "--without-role", "admin", *everyone),
        ),
        _row("users delete", big.flask("users", "delete", "--without-role", "admin", *everyone)),
    ]
    return rows


def _row(what: str, program: Program, limit: float | None = None) -> Row:
    say(f"{what} …")
    cost = _run(program)
    figure = f"{cost.wall:.1f} s ({cost.cpu:.1f} s CPU, {cost.peak / MB:.0f} MB)"
    say(f"  {figure}")
    if limit is None:
        return Row(what, figure)
    return Row(what, figure, f"≤ {limit:g} s", cost.wall <= limit)


def _each(big: Installation, count: int) -> Row:
    """Measure a command for each account, as a loop of the shell has them."""
    started = perf_counter()
    for id in range(1, FEW + 1):
        _run(big.flask("roles", "grant", "auditor", str(id), "--replace-end", "-q"))
    seconds = (perf_counter() - started) / FEW * count
    return Row("a command for each account instead", f"{seconds / 3600:.1f} h")


def _run(program: Program) -> Cost:
    return once(program)


if __name__ == "__main__":
    sys.exit(main())
