"""Code without a person: ``-c CODE``, a file, or what is piped in, on record like any input."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from opsapp.cli.messages import say
from opsapp.cli.streams import Unwritten
from opsapp.console import audit_hook
from opsapp.console.lifecycle import Console
from opsapp.console.modes import Mode
from opsapp.errors import OpsError
from opsapp.redaction import redacted_traceback
from opsapp.text import safe

FAILED = 1

audit_hook.runs_inputs(__file__)


def run(console: Console, code: str, name: str, args: Sequence[str]) -> int:
    """Run a program with the console's names; its exit code.

    :param name: what tracebacks and ``sys.argv`` call it: ``-c``, ``-`` or a path.
    :raises SystemExit: the program asked to exit; its transaction is ended before.
    :raises NotReady: it cannot be put on record, so it was not run.
    """
    console.before(code, name=name, args=list(args))
    try:
        _execute(code, name, args, console.names.namespace())
    except (BrokenPipeError, Unwritten):
        raise  # Nobody reads what it prints: the frame knows how that ends.
    except Exception as error:  # noqa: BLE001  (whatever it is, its traceback is the answer)
        _say_traceback(error, name)
        console.ended = "error"
        return FAILED
    finally:
        remark = console.after()
        if remark:
            say(remark)
    # In a sandbox nothing is to stay; elsewhere what waits is lost when the program ends.
    return FAILED if remark and console.session.mode is not Mode.SANDBOX else 0


def _execute(code: str, name: str, args: Sequence[str], names: dict[str, Any]) -> None:
    module = ModuleType("__main__")
    module.__dict__.update(names)
    if name not in ("-c", "-"):
        module.__file__ = name
    before = sys.argv, sys.modules["__main__"]
    sys.argv, sys.modules["__main__"] = [name, *args], module
    try:
        shown = name if module.__dict__.get("__file__") else f"<{name}>"
        exec(compile(code, shown, "exec"), module.__dict__)  # noqa: S102  (it is what was asked for)
        sys.stdout.flush()
    finally:
        sys.argv, sys.modules["__main__"] = before


def _say_traceback(error: Exception, name: str) -> None:
    """The traceback from the program on: how we came there is nobody's business."""
    trace = error.__traceback__
    for _frame in ("run", "_execute"):
        if trace is not None and trace.tb_frame.f_code.co_filename == __file__:
            trace = trace.tb_next
    for line in redacted_traceback(error.with_traceback(trace)).rstrip("\n").split("\n"):
        say(safe(line))
    if isinstance(error, OpsError) and error.hint:
        say(f"  → {error.hint}")
