"""Processes forked from one that has imported everything: to start another costs next to nothing.

What such a process runs is real, its end and its streams too; only how Python starts is not
in it. Tests of that start a program (:mod:`processes`).
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

PATIENCE = 120
"""Seconds after which what was waited for is taken to never come."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(
    [
        "flask.cli",
        "flask_migrate",
        "psycopg",
        "opsapp.accounts.users",
        "opsapp.profiling.record.recorder",
        "opsapp.web.security.setup",
        "opsapp.web.api.users",
        "opsapp.commands.roles.definitions",
        "opsapp.commands.users.accounts",
        "opsapp.commands.jobs.run",
        "opsapp.commands.shell.interactive",
    ]
)


def forked(
    work: Callable[..., None],
    *args: Any,
    environ: Mapping[str, str],
    folder: Path,
    stdin: str = "",
    begun: Callable[[int], None] = lambda pid: None,
) -> tuple[int, str, str]:
    """Run ``work`` in a process of its own; its exit code, and what it printed on either stream.

    :param work: a function that its module's name leads to.
    :param begun: is called with the id of the process, which may be at work already.
    """
    with tempfile.TemporaryDirectory() as name:
        streams = [Path(name, stream) for stream in ("stdin", "stdout", "stderr")]
        streams[0].write_text(stdin)
        process = _server.Process(
            target=_work, args=(work, args, dict(environ), str(folder), list(map(str, streams)))
        )
        process.start()
        begun(process.pid or 0)
        process.join(PATIENCE)
        try:
            assert process.exitcode is not None, f"{args} never ended"
        finally:
            process.kill()
        stdout, stderr = (stream.read_bytes().decode() for stream in streams[1:])
        return process.exitcode, stdout, stderr


def flask(*words: str) -> None:
    """What the program of this name does."""
    from flask.cli import main

    from opsapp.cli import streams

    streams.prepare()  # As importing opsapp.entrypoints does, which happened before the fork.
    sys.argv = [str(Path(sys.executable).with_name("flask")), *words]
    main()


def _work(
    work: Callable[..., None],
    args: tuple[Any, ...],
    environ: dict[str, str],
    folder: str,
    streams: list[str],
) -> NoReturn:
    os.environ.clear()
    os.environ.update(environ)
    sys.path[:0] = filter(None, environ.get("PYTHONPATH", "").split(os.pathsep))
    os.chdir(folder)
    for number, (path, flags) in enumerate(
        zip(streams, (os.O_RDONLY, *[os.O_WRONLY | os.O_CREAT | os.O_APPEND] * 2), strict=True)
    ):
        os.dup2(os.open(path, flags, 0o600), number)
    # As Python opens them when it starts.
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    code = 1
    try:
        work(*args)
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  (Python itself would say what it is, and end)
        sys.excepthook(*sys.exc_info())
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
