"""`flask jobs run`: what stands in a crontab."""

from __future__ import annotations

import dataclasses
import errno
import os
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from opsapp.cli.base import OpsCommand, application
from opsapp.cli.decorators import name_connection
from opsapp.cli.messages import say
from opsapp.cli.options import DURATION, JOB, PROGRAM, SINCE
from opsapp.errors import Invalid, OutputFailed

if TYPE_CHECKING:
    from opsapp.actors import Actor
    from opsapp.jobs.invocation import Order
    from opsapp.jobs.output import Spool
    from opsapp.jobs.runner import Outcome


class OnBusy(click.ParamType):  # type: ignore[type-arg]
    """``fail``, ``skip``, ``wait`` or ``wait=10m``."""

    name = "fail|skip|wait[=DURATION]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from opsapp.jobs.fields import busy

        try:
            busy(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        return str(value)


@click.command("run", cls=OpsCommand)
@click.argument("name", type=JOB)
@click.option("--timeout", type=DURATION, metavar="10m", help="End the command after this time.")
@click.option(
    "--kill-after",
    type=DURATION,
    metavar="30s",
    help="Kill the command this long after the timeout. [30s]",
)
@click.option("--on-busy", type=OnBusy(), help="What to do while another run is active. [fail]")
@click.option(
    "--retries", type=click.IntRange(min=0, max=1000), help="Number of retries after a failure. [0]"
)
@click.option(
    "--retry-delay", type=DURATION, metavar="10s", help="Wait this long before a retry. [10s]"
)
@click.option(
    "--min-duration", type=DURATION, metavar="5s", help="Treat a shorter run as a failure."
)
@click.option(
    "--env",
    multiple=True,
    type=PROGRAM,
    metavar="NAME=VALUE",
    help="Environment variable; can be repeated.",
)
@click.option(
    "-q", "--quiet", is_flag=True, default=None, help="Print output only if the command fails."
)
@click.option("--slot", type=SINCE, hidden=True)
@click.option("--file", type=click.Path(path_type=Path), hidden=True)
@click.argument("command", type=PROGRAM, nargs=-1, metavar="[-- COMMAND…]")
def run_cmd(
    name: str,
    command: tuple[str, ...],
    slot: datetime | None,
    file: Path | None,
    **given: Any,
) -> None:
    """Run a command as a job, one run at a time.

    COMMAND is any program, or a command of ours (flask …); without one it is what
    jobs.toml says of NAME; an option given here replaces the one there. Two runs of a NAME
    never go on at once, on all hosts that share the database: the second one exits 75.
    The exit code is the command's; 124 after the timeout, 128 + N after signal N.

    \b
    Examples:
      flask jobs run nightly --timeout 10m -- flask roles expire
      flask jobs run report --quiet --on-busy skip -- /srv/report.sh --all
    """
    from opsapp.jobs.schedule import checked_name

    checked_name(name)
    actor = name_connection()
    with application():
        order = _order(name, command, slot, file, actor, given)
        click.get_current_context().exit(_exit_code(order, _run(order)))


def _order(
    name: str,
    command: tuple[str, ...],
    slot: datetime | None,
    file: Path | None,
    actor: Actor,
    given: dict[str, Any],
) -> Order:
    from opsapp.jobs.fields import busy
    from opsapp.jobs.invocation import Order, order_of
    from opsapp.jobs.schedule import Options, get_job

    if command and not command[0]:
        raise Invalid("COMMAND names no program: its first word is empty")
    chosen = {key: value for key, value in given.items() if value not in (None, ())}
    if "on_busy" in chosen:
        chosen["on_busy"], chosen["wait"] = busy(chosen["on_busy"])
    if "env" in chosen:
        chosen["env"] = dict(map(_variable, chosen["env"]))
    if command:
        options = Options(**chosen)
        return Order(
            name=name,
            command=command,
            options=options,
            actor=actor,
            slot=slot,
            environ=app_environ(),
        )
    order = order_of(get_job(name, file), actor=actor, slot=slot, environ=app_environ())
    if "env" in chosen:
        chosen["env"] = {**order.options.env, **chosen["env"]}
    return dataclasses.replace(order, options=dataclasses.replace(order.options, **chosen))


def app_environ() -> dict[str, str]:
    """What lets a command of ours find the app that we were told of by ``flask --app``."""
    from flask.cli import ScriptInfo

    named = click.get_current_context().ensure_object(ScriptInfo).app_import_path
    return {"FLASK_APP": named} if named else {}


def _variable(given: str) -> tuple[str, str]:
    name, sign, value = given.partition("=")
    if not name or not sign or "\0" in given:
        raise Invalid("--env is of the form NAME=VALUE")
    return name, value


def _run(order: Order) -> Outcome:
    from opsapp.jobs import runner
    from opsapp.jobs.output import Spool

    if not order.options.quiet:
        return runner.run(order, sinks=(_writer(1), _writer(2)), say=say)
    remarks: list[str] = []
    with closing(Spool()) as spool:
        outcome = runner.run(order, sinks=(spool.sink(1), spool.sink(2)), say=remarks.append)
        if outcome.exit_code:
            _replay(spool)
            for remark in remarks:
                say(remark)
    return outcome


def _replay(spool: Spool) -> None:
    writers = {1: _writer(1), 2: _writer(2)}
    for stream, chunk in spool.replay():
        writers[stream](chunk)


def _writer(descriptor: int) -> Callable[[bytes], None]:
    """What passes bytes on to our stdout or stderr, at once."""
    stream: Any = sys.stdout if descriptor == 1 else sys.stderr
    out: BinaryIO | None = getattr(stream, "buffer", None)
    if out is None:
        return lambda _chunk: None
    # A write that a reader holds up for ever must not keep a lock that Python's end needs.
    raw: BinaryIO = getattr(out, "raw", out)

    def write(chunk: bytes) -> None:
        left = memoryview(chunk)
        while left:
            taken = raw.write(left)
            if taken is None:  # It is not to be waited for, and can take no more now.
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            left = left[taken:]

    return write


def _exit_code(order: Order, outcome: Outcome) -> int:
    """Say what the command cannot have said itself; the code to exit with."""
    if outcome.reason and not (order.options.quiet and outcome.exit_code == 0):
        run = f" (run {outcome.run_id})" if outcome.run_id else ""
        say(f"{order.name} {outcome.status}{run}: {outcome.reason}.")
    lost = outcome.output_error
    if lost is not None and not isinstance(lost, BrokenPipeError) and not outcome.exit_code:
        raise OutputFailed(
            f"the command ended with 0, but its output could not be written ({lost.strerror})",
            hint=f"flask jobs show {outcome.run_id}",
        )
    return outcome.exit_code
