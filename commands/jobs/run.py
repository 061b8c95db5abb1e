"""`flask jobs run`: a command, run as a job."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from opsapp.cli.base import OpsCommand, application
from opsapp.cli.decorators import name_connection
from opsapp.cli.help import is_in_ops
from opsapp.cli.messages import say
from opsapp.cli.options import DURATION, JOB, PROGRAM, SINCE, each_once
from opsapp.errors import Invalid, OutputFailed

if TYPE_CHECKING:
    from opsapp.jobs.fields import OnBusy
    from opsapp.jobs.invocation import Invocation
    from opsapp.jobs.runner import Outcome


class OnBusyType(click.ParamType):  # type: ignore[type-arg]
    """``fail``, ``skip``, ``wait`` or ``wait=10m``."""

    name = "fail|skip|wait[=DURATION]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> OnBusy:
        from opsapp.jobs.fields import on_busy

        try:
            return on_busy(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


@click.command("run", cls=OpsCommand)
@click.argument("name", type=JOB)
@click.option("--timeout", type=DURATION, help="End the command after this time, such as 10m.")
@click.option(
    "--kill-after",
    type=DURATION,
    help="Kill the command this long after the timeout. Default: 30s.",
)
@click.option("--on-busy", type=OnBusyType(), help="Reaction to an active run. Default: fail.")
@click.option(
    "--retries",
    type=click.IntRange(min=0, max=1000),
    metavar="N",
    help="Number of retries after a failure. Default: 0.",
)
@click.option("--retry-delay", type=DURATION, help="Wait this long before a retry. Default: 10s.")
@click.option(
    "--min-duration", type=DURATION, help="Treat a shorter run, such as 5s, as a failure."
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
    env: tuple[str, ...],
    **options: Any,
) -> None:
    """Run a command as a job, one run at a time.

    COMMAND is any program, or a command of ours (flask …). Without one, the command of
    NAME in jobs.toml runs; options on the command line take precedence over the file.
    Two runs of one NAME never overlap, on all hosts that share the database: the second
    one exits 75. The exit code is the command's; 124 after the timeout, 128 + N after
    signal N.

    \b
    Examples:
      flask jobs run nightly --timeout 10m -- flask roles expire
      flask jobs run report --quiet --on-busy skip -- /srv/report.sh --all
    """
    from opsapp.jobs.invocation import invocation

    overrides = {key: value for key, value in options.items() if value is not None}
    overrides["env"] = each_once("--env", map(_variable, env))
    actor = name_connection()
    with application():
        job = invocation(
            name, command, overrides, actor=actor, file=file, slot=slot, environ=app_environ()
        )
        click.get_current_context().exit(_exit_code(job, _run(job)))


def app_environ() -> dict[str, str]:
    """Return the variables by which a command of ours finds the app of ``flask --app``."""
    from flask.cli import ScriptInfo

    path = click.get_current_context().ensure_object(ScriptInfo).app_import_path
    return {"FLASK_APP": path} if path else {}


def load_attached_app() -> AbstractContextManager[None]:
    """Load an application that opsapp is attached to, whose folder has the schedule."""
    return application() if is_in_ops(click.get_current_context()) else nullcontext()


def _variable(assignment: str) -> tuple[str, str]:
    name, sign, value = assignment.partition("=")
    if not name or not sign or "\0" in assignment:
        raise Invalid("--env is of the form NAME=VALUE")
    return name, value


def _run(job: Invocation) -> Outcome:
    from opsapp.jobs import runner
    from opsapp.jobs.output import Spool

    if not job.options.quiet:
        return runner.run(job, sinks=(_writer(1), _writer(2)), say=say)
    remarks: list[str] = []
    with closing(Spool()) as spool:
        outcome = runner.run(job, sinks=(spool.sink(1), spool.sink(2)), say=remarks.append)
        if outcome.exit_code:
            writers = {1: _writer(1), 2: _writer(2)}
            for stream, chunk in spool.replay():
                writers[stream](chunk)
            for remark in remarks:
                say(remark)
    return outcome


def _writer(descriptor: int) -> Callable[[bytes], None]:
    """Return a function that passes bytes on to our stdout or stderr, at once."""
    stream: Any = sys.stdout if descriptor == 1 else sys.stderr
    out: BinaryIO | None = getattr(stream, "buffer", None)
    if out is None:
        return lambda _chunk: None
    # A write that a reader blocks forever must not hold a lock that Python's exit needs.
    raw: BinaryIO = getattr(out, "raw", out)

    def write(chunk: bytes) -> None:
        remainder = memoryview(chunk)
        while remainder:
            size = raw.write(remainder)
            if size is None:  # The stream does not block, and is full.
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            remainder = remainder[size:]

    return write


def _exit_code(job: Invocation, outcome: Outcome) -> int:
    """Print what the command cannot know itself, and return the exit code."""
    if outcome.reason and not (job.options.quiet and outcome.exit_code == 0):
        run = f" (run {outcome.run_id})" if outcome.run_id else ""
        say(f"{job.name} {outcome.status}{run}: {outcome.reason}.")
    error = outcome.output_error
    if error is not None and not isinstance(error, BrokenPipeError) and not outcome.exit_code:
        raise OutputFailed(
            f"the command ended with 0, but its output could not be written ({error.strerror})",
            hint=f"flask jobs show {outcome.run_id}",
        )
    return outcome.exit_code
