"""`flask roles export` and `flask roles apply`: roles as a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from opsapp import text
from opsapp.cli import output
from opsapp.cli.base import OpsCommand, application, approve
from opsapp.cli.decorators import changes, findings
from opsapp.cli.options import NAMED_TEXT

if TYPE_CHECKING:
    from opsapp.unit.work import Unit


@click.command("export", cls=OpsCommand)
@click.option("--grants", "with_grants", is_flag=True, help="Include the live grants.")
def export_cmd(with_grants: bool) -> None:
    """Print the roles as a TOML file, for `flask roles apply`.

    The order is stable, so you can compare two databases and review changes in version control.

    \b
    Example:
      flask roles export --grants > roles.toml
    """
    with application():
        from opsapp.accounts import role_plan

        output.write_lines(role_plan.export(with_grants=with_grants).splitlines())


@click.command("apply", cls=OpsCommand)
@click.argument("file", type=NAMED_TEXT)
@click.option(
    "--prune", is_flag=True, help="Also delete roles and revoke grants that are not in FILE."
)
@click.option("--check", is_flag=True, help="Change nothing; exit 6 if the database differs.")
@changes("changed", "action", "role", "user", "before", "after", key="role", destructive=True)
def apply_cmd(file: tuple[str, str], prune: bool, check: bool, unit: Unit) -> Any:
    """Apply roles and grants from a TOML file.

    Prints what changes, and asks. All of it is one change. Roles and grants that FILE does
    not name stay, unless --prune; the grants of a role without a [grants.ROLE] table always
    stay. FILE may be - for stdin.

    \b
    Examples:
      flask roles apply roles.toml --prune --yes --reason "#123"
      flask roles apply roles.toml --prune --check
    """
    from opsapp.accounts import role_plan

    name, words = file
    unit.dry_run = unit.dry_run or check
    plan = role_plan.plan(words, name=name, prune=prune)
    difference = plan.difference
    output.write_difference(difference)
    findings(check and bool(difference))
    if difference and not unit.dry_run:
        count = len(plan.changes)
        approve(f"Make {text.pluralize(count, 'change')}?", severe=True)
    rows = role_plan.apply(words, name=name, prune=prune, preview=plan, unit=unit)
    return rows if output.is_for_programs() else None
