"""One attempt of a command: a session of its own, bounded in time, and nothing left of it.

The runner may be killed with -9, and then cannot end what it started; for that a guardian
stands beside it (:mod:`opsapp.jobs.guardian`).
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from . import guardian
from .output import Pump, Sink, Tail

NOT_FOUND, NOT_EXECUTABLE = 127, 126
"""What a shell says of such commands."""
TIMED_OUT = 124
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*STOPPING, signal.SIGUSR1, signal.SIGUSR2)
MARK = "OPSAPP_CORRELATION"
"""The variable by which a run's processes are found, wherever they have gone."""
SETTLING = 1.0
"""Seconds that the kernel may take to end what was killed."""
LOOK = 0.5
MOMENT = 0.05


@dataclass(frozen=True, slots=True)
class Signalled:
    """The runner got a signal."""

    number: int

    @property
    def is_to_stop(self) -> bool:
        """Whether it ends what runs; any other one is the command's own affair."""
        return self.number in STOPPING


@dataclass(frozen=True, slots=True)
class Replaced:
    """The lock was lost, and another run has begun."""


@dataclass(frozen=True, slots=True)
class _Gone:
    """The command has ended."""


Events = SimpleQueue[Any]
"""What happens to a run, from whichever thread or signal handler, in order."""


@contextmanager
def passing_on(events: Events) -> Iterator[None]:
    """Let signals become events; outside of the main thread nobody can."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def note(number: int, _frame: object) -> None:
        events.put(Signalled(number))

    heeded = [number for number in PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended."""

    exit_code: int
    seconds: float
    peak_bytes: int | None = None
    timed_out: bool = False
    stopped_by: Signalled | Replaced | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """What to run, and within which bounds."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    timeout: float | None
    kill_after: float
    tails: tuple[Tail, Tail]
    sinks: tuple[Sink, Sink]
    keep_open: tuple[int, ...] = ()
    """Descriptors that stay open until the command is gone for certain."""


def run(attempt: Attempt, events: Events) -> tuple[Ended, OSError | None]:
    """Run it to its end; also why its output could not be passed on, if it could not."""
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            attempt.argv,
            env=dict(attempt.environ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return _not_started(attempt, error), None
    mark = attempt.environ[MARK]
    watching = guardian.post(child.pid, f"{MARK}={mark}", attempt.keep_open)
    pumps = _start_pumps(child, attempt)
    try:
        ended = _Supervision(child, attempt, events, pumps, started).watch()
    except BaseException:
        signal_all(child.pid, mark, signal.SIGKILL)
        raise
    finally:
        guardian.dismiss(watching)
    return ended, next((pump.error for pump in pumps if pump.error), None)


def _not_started(attempt: Attempt, error: OSError) -> Ended:
    is_missing = isinstance(error, FileNotFoundError)
    return Ended(
        exit_code=NOT_FOUND if is_missing else NOT_EXECUTABLE,
        seconds=0.0,
        reason=f"{attempt.argv[0]} cannot be started: {error.strerror}",
    )


def _start_pumps(child: subprocess.Popen[bytes], attempt: Attempt) -> list[Pump]:
    pipes = [pipe for pipe in (child.stdout, child.stderr) if pipe is not None]
    pumps = [
        Pump(pipe, tail, sink)
        for pipe, tail, sink in zip(pipes, attempt.tails, attempt.sinks, strict=True)
    ]
    for pump in pumps:
        pump.start()
    return pumps


class _Supervision:
    """Waits for the end of one process, and brings it about when it is due."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        attempt: Attempt,
        events: Events,
        pumps: Sequence[Pump],
        started: float,
    ) -> None:
        self._child = child
        self._attempt = attempt
        self._events = events
        self._pumps = pumps
        self._started = started
        timeout = attempt.timeout
        self._deadline = None if timeout is None else started + timeout
        self._timed_out = False
        self._stopped_by: Signalled | Replaced | None = None
        self._seen_peak = 0

    def watch(self) -> Ended:
        """Wait; the way the command ended, once what it printed is passed on."""
        threading.Thread(target=self._wait, daemon=True).start()
        while not isinstance(event := self._next(), _Gone):
            if event is None:
                self._end_late()
            else:
                self._heed(event)
        code, peak = self._reap()
        seconds = time.monotonic() - self._started
        if self._is_stopping:
            self._end_the_rest()
        self._await_output()
        return Ended(
            exit_code=self._exit_code(code if code >= 0 else 128 - code),
            seconds=seconds,
            peak_bytes=peak,
            timed_out=self._timed_out,
            stopped_by=self._stopped_by,
            reason=f"killed by {_name(-code)}" if code < 0 else None,
        )

    def _wait(self) -> None:
        # It is not reaped yet: until then nobody else gets the number of its group.
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        self._events.put(_Gone())

    def _next(self) -> Any:
        """The next event; None when the deadline has passed."""
        while True:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._seen_peak = max(self._seen_peak, _high_water(self._child.pid))
            if event := self._event_within(LOOK if left is None else min(left, LOOK)):
                return event

    def _event_within(self, seconds: float) -> Any:
        try:
            return self._events.get(timeout=seconds)
        except Empty:
            return None

    @property
    def _is_stopping(self) -> bool:
        return self._timed_out or self._stopped_by is not None

    def _end_late(self) -> None:
        """The deadline has passed: of the attempt, or of the time it had to end."""
        if self._is_stopping:
            self._signal(signal.SIGKILL)
            self._deadline = None
        else:
            self._timed_out = True
            self._stop(signal.SIGTERM)

    def _heed(self, event: Signalled | Replaced) -> None:
        if isinstance(event, Signalled) and not event.is_to_stop:
            # Sent to its group, it would kill whatever there does not know it.
            _signal(os.kill, self._child.pid, event.number)
            return
        if not self._is_stopping:
            self._stopped_by = event
        self._stop(event.number if isinstance(event, Signalled) else signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._signal(number)
        self._signal(signal.SIGCONT)  # What is halted would not hear it.
        self._deadline = time.monotonic() + self._attempt.kill_after

    def _signal(self, number: int) -> None:
        signal_all(self._child.pid, self._attempt.environ[MARK], number)

    def _reap(self) -> tuple[int, int | None]:
        _, status, usage = os.wait4(self._child.pid, 0)
        self._child.returncode = os.waitstatus_to_exitcode(status)
        return self._child.returncode, _peak(usage.ru_maxrss * 1024, self._seen_peak)

    def _exit_code(self, code: int) -> int:
        if self._timed_out:
            return TIMED_OUT
        if isinstance(self._stopped_by, Signalled):
            return 128 + self._stopped_by.number
        return code

    def _end_the_rest(self) -> None:
        """The first process has ended when asked; what it started has until the same moment."""
        group, mark = self._child.pid, self._attempt.environ[MARK]
        if not _are_gone(group, mark, self._deadline or time.monotonic()):
            signal_all(group, mark, signal.SIGKILL)
            _are_gone(group, mark, time.monotonic() + SETTLING)

    def _await_output(self) -> None:
        """Wait until what it printed is passed on; a reader who takes nothing has until the end."""
        since = time.monotonic()
        deadline = since + SETTLING if self._is_stopping else self._deadline
        while not all(pump.is_through(since) for pump in self._pumps):
            event = self._event_within(MOMENT)
            if isinstance(event, Replaced) or (isinstance(event, Signalled) and event.is_to_stop):
                self._stopped_by = self._stopped_by or event
                return
            if deadline is not None and time.monotonic() >= deadline and self._is_held_up():
                self._timed_out = self._timed_out or self._stopped_by is None
                return

    def _is_held_up(self) -> bool:
        return any(pump.is_held_up for pump in self._pumps)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # Between the first and the last real-time signal are no names.


def _are_gone(group: int, mark: str, deadline: float) -> bool:
    """Whether all descendants have ended before the deadline."""
    while descendants(group, mark):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def signal_all(group: int, mark: str, number: int) -> None:
    """Signal the process group, and whoever left it and still carries the run's mark."""
    _signal(os.killpg, group, number)
    for pid in descendants(group, mark):
        if _group_of(pid) != group:
            _signal(os.kill, pid, number)


def _signal(send: Callable[[int, int], None], target: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # It is gone, or somebody else's.
        send(target, number)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def descendants(group: int, mark: str) -> list[int]:
    """The living processes of the group, session or mark. Linux only; elsewhere none are seen."""
    found = []
    line = f"\0{MARK}={mark}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold anything: state, parent, group, session.
            state, _, pgrp, session = (
                (folder / "stat").read_text("latin-1").rpartition(")")[2].split()[:4]
            )
            marked = line in b"\0" + (folder / "environ").read_bytes()
        except (OSError, ValueError):
            continue  # It has ended, or is another user's.
        if state not in "ZX" and (str(group) in (pgrp, session) or marked):
            found.append(int(folder.name))
    return found


def _high_water(pid: int) -> int:
    """The most memory that the process has had, so far as the kernel tells now."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def _peak(counted: int, seen: int) -> int | None:
    """The peak memory of the command.

    The kernel begins to count a child at what its parent had when it forked; so where the count
    is no more than our own, what was seen while it ran is all that is known.
    """
    return counted if counted > _high_water(os.getpid()) else seen or None
