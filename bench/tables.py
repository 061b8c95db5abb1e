"""A table of 100,000 accounts against the same list as CSV: ``python -m bench.tables``."""

from __future__ import annotations

import argparse
from dataclasses import replace

from .installation import add_accounts, sqlite, workspace
from .measure import FLASK, Row, at_most, compile_everything, pairs, say, show

ACCOUNTS = 100_000
LIMIT = 2.0
WIDTHS = (80, 160)


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="bench.tables", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="pairs for each ratio")
    rounds = parser.parse_args().rounds
    compile_everything()
    rows: list[Row] = []
    with workspace() as folder:
        installation = sqlite(folder, "tables")
        add_accounts(installation, ACCOUNTS)
        csv = installation.flask("users", "list", "--all", "--format", "csv")
        for columns in WIDTHS:
            say(f"a table of {columns} columns : csv …")
            argv = ("script", "-qec", f"stty cols {columns} rows 0; exec {FLASK} users list --all")
            table = replace(csv, argv=(*argv, "/dev/null"))
            pair = pairs(table, csv, rounds)
            figures = f" ({pair.a.cpu:.1f} : {pair.b.cpu:.1f} s CPU)"
            rows.append(at_most(f"{ACCOUNTS:,} rows at {columns}", pair.cpu, LIMIT, figures))
    return show(f"Long tables, medians of {rounds} pairs", rows)


if __name__ == "__main__":
    raise SystemExit(main())
