"""Processes forked from one that has imported everything: to start another costs next to nothing.

What such a process runs is real, its end and its streams too; only how Python starts is not
in it. Tests of that start a program (:mod:`processes`).
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import multiprocessing
import multiprocessing.forkserver
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 3600 if float(os.environ.get("OPSAPP_FAULTS", "0")) else 120
"""Seconds after which what was waited for is taken to never come; the long form has long races."""

_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["tests.support.preloaded"])
_starting = threading.Lock()


@functools.cache
def _start_server() -> None:
    # Python 3.11 drops the path that it hands over, and says nothing where a module is not there:
    # each process would import everything itself.
    with contextlib.chdir(ROOT):
        multiprocessing.forkserver.ensure_running()


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
        for stream in streams[1:]:
            stream.touch()  # A process that is killed at once opens none.
        process = _server.Process(
            target=_work, args=(work, args, dict(environ), str(folder), list(map(str, streams)))
        )
        _start(process)
        begun(process.pid or 0)
        process.join(PATIENCE)
        try:
            assert process.exitcode is not None, f"{args} never ended"
        finally:
            process.kill()
        stdout, stderr = (stream.read_bytes().decode() for stream in streams[1:])
        return process.exitcode, stdout, stderr


def _start(process: Any) -> None:
    with _starting:
        _start_server()
        process.start()
        # An exit code can be read once, and each start reads those of its list. A thread that
        # waits for its process would be left with 255.
        multiprocessing.process._children.discard(process)  # type: ignore[attr-defined]


class Forked:
    """A process that works on its own, until it is waited for or killed."""

    def __init__(self, process: Any) -> None:
        self._process = process
        self.pid: int = process.pid

    def ended(self) -> int | None:
        """Wait for its end; its exit code, or minus the number of the signal."""
        self._process.join(PATIENCE)
        assert self._process.exitcode is not None, "it never ended"
        return int(self._process.exitcode)

    def end(self) -> None:
        """Kill it, if it is still there."""
        self._process.kill()
        self._process.join()


def forked_at_terminal(
    work: Callable[..., None],
    *args: Any,
    terminal: str,
    environ: Mapping[str, str],
    folder: Path,
) -> Forked:
    """Run ``work`` in a process of its own, at a terminal of its own that it has opened.

    :param terminal: the path of the terminal.
    """
    opened, opens = _server.Pipe(duplex=False)
    process = _server.Process(
        target=_work_at_terminal,
        args=(opens, work, args, dict(environ), str(folder), [terminal] * 3),
    )
    with opened:
        with opens:
            _start(process)
        opened.recv()
    return Forked(process)


def _work_at_terminal(opens: Any, *how: Any) -> NoReturn:
    os.setsid()  # The terminal that it opens first is its own from then on.
    os.open(how[-1][0], os.O_RDWR)
    with opens:
        opens.send(None)
    _work(*how)


def flask(*words: str) -> None:
    """Run the program of this name."""
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
