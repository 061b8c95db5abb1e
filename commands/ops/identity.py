"""`flask ops identity`: the accounts of the application, as opsapp understands them."""

from __future__ import annotations

import click

from opsapp.cli.base import OpsCommand
from opsapp.cli.decorators import answers, say_afterwards
from opsapp.types import Record


@click.command("identity", cls=OpsCommand)
@click.option("--promises", is_flag=True, help="List each guarantee and whether it holds here.")
@answers()
def cli(promises: bool) -> list[Record]:
    """Show how opsapp understands the application's accounts.

    Each part has its source: an argument of Ops(…), a framework, or only its name.
    A part that is missing has the argument that would add it.

    \b
    Example:
      flask ops identity --promises
    """
    from opsapp.ops import promises as listed

    if promises:
        return listed.promises()
    rows = listed.parts()
    missing = [row["part"] for row in rows if row["missing"]]
    if missing and not click.get_current_context().params["fields"]:
        remark = f"Missing: {', '.join(missing)}; --fields part,missing shows what adds them."
        say_afterwards(remark, in_json=False)
    return rows
