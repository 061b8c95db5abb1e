"""`flask doctor`: check the installation for problems."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import click

from opsapp import text
from opsapp.cli.base import OpsCommand, application
from opsapp.cli.cells import style_of
from opsapp.cli.decorators import answers, findings
from opsapp.cli.help import is_in_ops, rewrite_commands
from opsapp.cli.streams import style_text
from opsapp.cli.tables import hanging
from opsapp.errors import OpsError

STATES = ("ok", "warn", "fail")


def _line(row: Mapping[str, Any]) -> str | None:
    """Return a finding with its advice below it; settings are a table."""
    if "advice" not in row:
        return None
    state = style_text(f"{row['state']:<4}", style_of("state", row["state"]))
    lines = [f"{state}  {text.safe(row['check'])}: {text.safe(row['says'])}"]
    if row["advice"]:
        lines.append(f"      → {text.safe(row['advice'])}")
    return "\n".join(hanging(line) for line in lines)


@click.command("doctor", cls=OpsCommand)
@click.option("--settings", is_flag=True, help="List the settings and their values.")
@answers(app=False, line=_line)
def cli(settings: bool) -> list[dict[str, Any]]:
    """Check the installation for problems.

    Exits 0 if all is well, and 6 with findings. Secrets are never shown.

    \b
    Examples:
      flask doctor
      flask doctor --settings
    """
    from opsapp.doctor import sources

    if settings:
        with application() if is_in_ops(click.get_current_context()) else nullcontext():
            return sources.listing()
    # The worst come last: at a terminal that is where one looks.
    rows = sorted(map(_spell_commands, _checks()), key=lambda row: STATES.index(row["state"]))
    findings(any(row["state"] != "ok" for row in rows))
    return rows


def _spell_commands(row: dict[str, Any]) -> dict[str, Any]:
    """Return the finding with commands as they are typed here."""
    advice = row["advice"]
    return {**row, "advice": advice and rewrite_commands(advice, click.get_current_context())}


def _checks() -> Iterator[dict[str, Any]]:
    from opsapp.doctor.application import check_application
    from opsapp.doctor.findings import finding
    from opsapp.doctor.settings import check_settings

    is_attached = is_in_ops(click.get_current_context())
    if not is_attached:
        yield from check_settings()
    try:
        with application():
            if is_attached:  # Only the application knows its settings and its folder.
                yield from check_settings()
            yield from check_application()
    except OpsError as error:
        # Without an app nothing more can be checked, and that is a finding too.
        yield finding("application", "fail", error.message, error.hint)
