"""`flask ops identity`: the accounts of the application, as opsapp understands them."""

from __future__ import annotations

import click

from opsapp.cli.base import OpsCommand
from opsapp.cli.decorators import answers
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

    return listed.promises() if promises else listed.parts()
