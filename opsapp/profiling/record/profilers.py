"""Profilers: each call, or samples of the stack, of one request.

One request of a process is profiled at a time; the others run unprofiled. See
docs/decisions/profiling.md#pythons-own-profiler-from-312-on.
"""

from __future__ import annotations

import cProfile
import logging
import marshal
import profile
import sys
import threading
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from ..paths import relative_path
from . import prof_files
from .callers import is_door, is_recorder
from .recording import Recording, waiting

log = logging.getLogger(__name__)

FUNCTIONS = 30
"""The number of functions in a trace: the most expensive ones."""
SAMPLE_SECONDS = 0.001
MOST_STACKS = 500

MIXES_THREADS = sys.version_info >= (3, 12)
MODES = ("1", "sample")
"""The values of ``X-Profile``: each call, or samples of the stack."""

Detail = dict[str, object]
Call = Callable[[], Any]
_turn = threading.Lock()


def run(recording: Recording, mode: str, folder: prof_files.Folder, call: Call) -> Any:
    """Return the result of ``call``, and put its profile into the recording.

    There is no profile if another request of this process is being profiled, or if the
    profiler fails. The result is always the same.
    """
    profiler = _profiler(mode, folder)
    if not _turn.acquire(blocking=False):
        return call()
    recording.has_profiler = True
    try:
        return profiler.run(call)
    finally:
        _keep(profiler, recording)
        _turn.release()


def _profiler(mode: str, folder: prof_files.Folder) -> Tracing | Sampling:
    return Sampling() if mode == "sample" else Tracing(folder)


def _keep(profiler: Tracing | Sampling, recording: Recording) -> None:
    """Put the profile into the recording."""
    try:
        with waiting():  # Its time is none of the code's.
            recording.profile_detail = profiler.detail()
    except Exception as error:  # noqa: BLE001  (the client gets its answer anyway)
        log.warning("a profile was not kept: %s", error)


def _begins(start: Callable[[], object]) -> bool:
    """Start a profiler, and tell whether it could; another one may be active in the process."""
    try:
        start()
    except Exception as error:  # noqa: BLE001  (the client gets its answer anyway)
        log.warning("a profile could not begin: %s", error)
        return False
    return True


def _run(profiler: Tracing | Sampling, call: Call) -> Any:
    """Return the result of ``call``, profiled if the profiler could start."""
    if not _begins(profiler.start):
        return call()
    try:
        return call()
    finally:
        profiler.stop()


class Stretch:
    """A profile of code that is not one function: of a command.

    A command has no other threads that could be mixed in.
    """

    def __init__(self, mode: str, folder: prof_files.Folder) -> None:
        self._profiler = _profiler(mode, folder)
        self._profiler.start()

    def end(self, recording: Recording) -> None:
        """Put the profile into the recording."""
        self._profiler.stop()
        _keep(self._profiler, recording)


class Tracing:
    """A count of each call of this thread, in a ``.prof`` file that ``pstats`` reads."""

    def __init__(self, folder: prof_files.Folder) -> None:
        self._folder = folder
        self._stats: dict[Any, Any] = {}

    def run(self, call: Call) -> Any:
        """Return the result of ``call``."""
        return self._run_in_python(call) if MIXES_THREADS else _run(self, call)

    def _run_in_python(self, call: Call) -> Any:
        tracers: list[Any] = []

        def begin() -> None:
            tracer = profile.Profile(perf_counter)
            tracer.set_cmd("request")
            tracers.append(tracer)

        if not _begins(begin):
            return call()
        try:
            return _run_guarded(tracers[0].dispatcher, call)
        finally:
            self._keep(tracers[0])

    def start(self) -> None:
        """Start to count."""
        self._fast = cProfile.Profile(builtins=True)
        self._fast.enable()

    def stop(self) -> None:
        """Stop to count."""
        self._fast.disable()
        self._keep(self._fast)

    def _keep(self, tracer: Any) -> None:
        try:
            tracer.create_stats()
            self._stats = tracer.stats
        except Exception as error:  # noqa: BLE001
            log.warning("a profile could not be created: %s", error)

    def detail(self) -> Detail:
        """Return the most expensive functions, and the name of the file with all of them.

        The name is None if the file could not be written.
        """
        name = None
        try:
            name = self._folder.write(marshal.dumps(self._stats))
        except OSError as error:
            log.warning("the file of a profile was not kept: %s", error)
        return {"functions": prof_files.top(self._stats, FUNCTIONS), "file": name}


def _run_guarded(dispatch: Callable[..., Any], call: Call) -> Any:
    """Run ``call`` under the profiler in Python, and ignore that profiler's own errors."""

    def dispatch_safely(frame: Any, event: str, argument: Any) -> None:
        try:
            dispatch(frame, event, argument)
        except Exception:  # noqa: BLE001  (the request would raise it)
            sys.setprofile(None)

    sys.setprofile(dispatch_safely)
    try:
        return call()
    finally:
        sys.setprofile(None)


class Sampling:
    """A sample of the stack each millisecond, with pyinstrument."""

    def __init__(self) -> None:
        from pyinstrument import Profiler as Instrument

        self._instrument = Instrument(interval=SAMPLE_SECONDS, async_mode="disabled")

    def run(self, call: Call) -> Any:
        """Return the result of ``call``."""
        return _run(self, call)

    def start(self) -> None:
        """Start to sample."""
        self._instrument.start()

    def stop(self) -> None:
        """Stop to sample."""
        self._instrument.stop()

    def detail(self) -> Detail:
        """Return the sampled stacks, the longest first."""
        session = self._instrument.last_session
        stacks: dict[tuple[str, ...], float] = {}
        for frames, seconds in session.frame_records if session is not None else ():
            stack = _inside(frames)
            stacks[stack] = stacks.get(stack, 0.0) + seconds
        longest = sorted(stacks.items(), key=lambda item: -item[1])[:MOST_STACKS]
        return {"samples": [[round(seconds, 5), list(stack)] for stack, seconds in longest]}


def _inside(frames: Sequence[str]) -> tuple[str, ...]:
    """Name the frames of the application: without the server, the recorder and the profiler.

    :param frames: as pyinstrument writes them (function, file, line and more), outermost first.
    """
    functions: list[str] = []
    for frame in frames:
        function, file, *_more = frame.split("\0")
        if is_door(file, function):
            functions.clear()  # All of it so far was the server's.
        elif file.startswith("/") and not is_recorder(file):
            functions.append(f"{relative_path(file)} in {function}")
    return tuple(functions)
