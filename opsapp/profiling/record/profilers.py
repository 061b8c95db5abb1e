"""Deep profiles: one request looked at function by function, when somebody asks for it.

Up to Python 3.11 the standard library's C profiler looks at its own thread only. From
3.12 on it mixes in what other threads do meanwhile, so the one in Python is used: slower,
and right. One request of a process is profiled at a time; others go on as ever.
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

from . import prof_files
from .callers import is_door, is_recorder, relative_path
from .recording import Recording

log = logging.getLogger(__name__)

FUNCTIONS = 30
"""So many functions, the most expensive ones, are kept with the trace."""
SAMPLE_SECONDS = 0.001
MOST_STACKS = 500

MIXES_THREADS = sys.version_info >= (3, 12)
MODES = ("1", "sample")
"""What ``X-Profile`` may say: every call, or the stack now and then."""

Detail = dict[str, object]
Call = Callable[[], Any]
_turn = threading.Lock()


def run(recording: Recording, mode: str, folder: prof_files.Folder, call: Call) -> Any:
    """What ``call`` returns or raises; what was found goes into the recording.

    Without a profile if another request of this process has the turn, or something goes
    wrong with it: who asked gets the same answer as everybody.
    """
    profiler = _profiler(mode, folder)
    if not _turn.acquire(blocking=False):
        return call()
    try:
        return profiler.run(call)
    finally:
        _keep(profiler, recording)
        _turn.release()


def _profiler(mode: str, folder: prof_files.Folder) -> Tracing | Sampling:
    return Sampling() if mode == "sample" else Tracing(folder)


def _keep(profiler: Tracing | Sampling, recording: Recording) -> None:
    """Put what was found into the recording."""
    try:
        recording.is_asked = profiler.detail()
    except Exception as error:  # noqa: BLE001  (who is profiled gets the answer all the same)
        log.warning("a profile was not kept: %s", error)


def _begins(start: Callable[[], object]) -> bool:
    """Whether the profiler could begin; another one in the same process may be in its way."""
    try:
        start()
    except Exception as error:  # noqa: BLE001  (who is profiled gets the answer all the same)
        log.warning("a profile could not begin: %s", error)
        return False
    return True


def _run(profiler: Tracing | Sampling, call: Call) -> Any:
    """What ``call`` returns or raises, profiled if the profiler could begin."""
    if not _begins(profiler.start):
        return call()
    try:
        return call()
    finally:
        profiler.stop()


class Stretch:
    """A profile from here to there, where the code between is not a function.

    For a command, which has no other threads that could be mixed in.
    """

    def __init__(self, mode: str, folder: prof_files.Folder) -> None:
        self._profiler = _profiler(mode, folder)
        self._profiler.start()

    def end(self, recording: Recording) -> None:
        """Put what was found into the recording."""
        self._profiler.stop()
        _keep(self._profiler, recording)


class Tracing:
    """Counts every call of this thread, into a ``.prof`` file that ``pstats`` reads."""

    def __init__(self, folder: prof_files.Folder) -> None:
        self._folder = folder
        self._stats: dict[Any, Any] = {}

    def run(self, call: Call) -> Any:
        """What ``call`` returns or raises."""
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
            return _guarded(tracers[0].dispatcher, call)
        finally:
            self._keep(tracers[0])

    def start(self) -> None:
        """Begin to count."""
        self._fast = cProfile.Profile(builtins=True)
        self._fast.enable()

    def stop(self) -> None:
        """Count no more."""
        self._fast.disable()
        self._keep(self._fast)

    def _keep(self, tracer: Any) -> None:
        try:
            tracer.create_stats()
            self._stats = tracer.stats
        except Exception as error:  # noqa: BLE001
            log.warning("a profile could not be made: %s", error)

    def detail(self) -> Detail:
        """The functions that took the most, and the name of the file with all of them.

        The name is None where the disk did not take the file.
        """
        name = None
        try:
            name = self._folder.write(marshal.dumps(self._stats))
        except OSError as error:
            log.warning("the file of a profile was not kept: %s", error)
        return {"functions": prof_files.top(self._stats, FUNCTIONS), "file": name}


def _guarded(dispatch: Callable[..., Any], call: Call) -> Any:
    """Run ``call`` under the profiler in Python, whose own faults stay its own."""

    def guarded(frame: Any, event: str, argument: Any) -> None:
        try:
            dispatch(frame, event, argument)
        except Exception:  # noqa: BLE001  (it would be raised in the request)
            sys.setprofile(None)

    sys.setprofile(guarded)
    try:
        return call()
    finally:
        sys.setprofile(None)


class Sampling:
    """Looks at the stack every millisecond, with pyinstrument."""

    def __init__(self) -> None:
        from pyinstrument import Profiler as Instrument

        self._instrument = Instrument(interval=SAMPLE_SECONDS, async_mode="disabled")

    def run(self, call: Call) -> Any:
        """What ``call`` returns or raises."""
        return _run(self, call)

    def start(self) -> None:
        """Begin to look."""
        self._instrument.start()

    def stop(self) -> None:
        """Look no more."""
        self._instrument.stop()

    def detail(self) -> Detail:
        """The stacks that were seen, the longest first."""
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
    named: list[str] = []
    for frame in frames:
        function, file, *_more = frame.split("\0")
        if is_door(file, function):
            named.clear()  # All of it so far was the server's.
        elif file.startswith("/") and not is_recorder(file):
            named.append(f"{relative_path(file)} in {function}")
    return tuple(named)
