"""One attempt of a command: a session of its own, a time limit, and no process left behind.

A runner that is killed with -9 cannot end its command; its guardian does
(:mod:`opsapp.jobs.guardian`).
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
"""The exit codes of a shell for such commands."""
TIMED_OUT = 124
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
PASSED_ON = (*STOPPING, signal.SIGUSR1, signal.SIGUSR2)
MARK = "OPSAPP_CORRELATION"
"""The variable by which a run's processes are found, also outside of its session."""
SETTLING = 1.0
"""Seconds that the kernel may take to end killed processes."""
LOOK = 0.5
"""Seconds between two looks at the memory of the command."""
MOMENT = 0.05
"""Seconds between two looks at its output, after it has ended."""


@dataclass(frozen=True, slots=True)
class Signalled:
    """The event that the runner got a signal."""

    number: int

    @property
    def is_to_stop(self) -> bool:
        """True if it ends the run; any other signal is passed to the command."""
        return self.number in STOPPING


@dataclass(frozen=True, slots=True)
class Replaced:
    """The event that the lock was lost and another run has begun."""


@dataclass(frozen=True, slots=True)
class _Gone:
    """The event that the command has ended."""


Events = SimpleQueue[Any]
"""The events of a run, from all threads and signal handlers, in order."""


@contextmanager
def passing_on(events: Events) -> Iterator[None]:
    """Turn signals into events; outside of the main thread Python cannot."""
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
    """The end of an attempt."""

    exit_code: int
    seconds: float
    peak_bytes: int | None = None
    timed_out: bool = False
    stopped_by: Signalled | Replaced | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A command to run, and its limits."""

    argv: Sequence[str]
    environ: Mapping[str, str]
    timeout: float | None
    kill_after: float
    tails: tuple[Tail, Tail]
    sinks: tuple[Sink, Sink]
    keep_open: tuple[int, ...] = ()
    """Descriptors that stay open until the command is certainly gone."""


def run(attempt: Attempt, events: Events) -> tuple[Ended, OSError | None]:
    """Run the command; return its end, and the error of passing its output on."""
    start = time.monotonic()
    # Before the command, which is at no moment without it.
    watching = guardian.post(f"{MARK}={attempt.environ[MARK]}", attempt.keep_open)
    try:
        try:
            child = _start_child(attempt)
        except OSError as error:
            return _start_failure(attempt, error), None
        guardian.watch(watching, child.pid)
        return _supervise(child, attempt, events, start)
    finally:
        guardian.dismiss(watching)


def _start_child(attempt: Attempt) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        attempt.argv,
        env=dict(attempt.environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _supervise(
    child: subprocess.Popen[bytes], attempt: Attempt, events: Events, start: float
) -> tuple[Ended, OSError | None]:
    pumps = _start_pumps(child, attempt)
    try:
        end = _Supervision(child, attempt, events, pumps, start).watch()
    except BaseException:
        signal_all(child.pid, attempt.environ[MARK], signal.SIGKILL)
        raise
    return end, next((pump.error for pump in pumps if pump.error), None)


def _start_failure(attempt: Attempt, error: OSError) -> Ended:
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
    """The wait for the end of one process, and its end when the time is over."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        attempt: Attempt,
        events: Events,
        pumps: Sequence[Pump],
        start: float,
    ) -> None:
        self._child = child
        self._attempt = attempt
        self._events = events
        self._pumps = pumps
        self._started = start
        timeout = attempt.timeout
        self._deadline = None if timeout is None else start + timeout
        self._timed_out = False
        self._stopped_by: Signalled | Replaced | None = None
        self._seen_peak = 0

    def watch(self) -> Ended:
        """Wait for the command and its output; return its end."""
        threading.Thread(target=self._wait, daemon=True).start()
        while not isinstance(event := self._next(), _Gone):
            if event is None:
                self._end_late()
            else:
                self._handle(event)
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
        # Not reaped yet: until then no other process gets the number of its group.
        os.waitid(os.P_PID, self._child.pid, os.WEXITED | os.WNOWAIT)
        self._events.put(_Gone())

    def _next(self) -> Any:
        """Return the next event; None when the deadline has passed."""
        while True:
            seconds = None if self._deadline is None else self._deadline - time.monotonic()
            if seconds is not None and seconds <= 0:
                return None
            self._seen_peak = max(self._seen_peak, _high_water(self._child.pid))
            if event := self._event_within(LOOK if seconds is None else min(seconds, LOOK)):
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
        """Handle a passed deadline: of the attempt, or of the time that it had to end."""
        if self._is_stopping:
            self._signal(signal.SIGKILL)
            self._deadline = None
        else:
            self._timed_out = True
            self._stop(signal.SIGTERM)

    def _handle(self, event: Signalled | Replaced) -> None:
        if isinstance(event, Signalled) and not event.is_to_stop:
            # In its group it would kill processes that do not handle it.
            _signal(os.kill, self._child.pid, event.number)
            return
        if not self._is_stopping:
            self._stopped_by = event
        self._stop(event.number if isinstance(event, Signalled) else signal.SIGTERM)

    def _stop(self, number: int) -> None:
        self._signal(number)
        self._signal(signal.SIGCONT)  # A stopped process would not get it.
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
        """Wait for the command's other processes until the same deadline, then kill them."""
        group, mark = self._child.pid, self._attempt.environ[MARK]
        if not _are_gone(group, mark, self._deadline or time.monotonic()):
            signal_all(group, mark, signal.SIGKILL)
            _are_gone(group, mark, time.monotonic() + SETTLING)

    def _await_output(self) -> None:
        """Wait until the output is passed on; a blocked reader has until the deadline."""
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
        return f"signal {number}"  # Most real-time signals have no name.


def _are_gone(group: int, mark: str, deadline: float) -> bool:
    """Return whether all descendants end before the deadline."""
    while descendants(group, mark):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


def signal_all(group: int, mark: str, number: int) -> None:
    """Signal the process group, and processes that left it and have the run's mark."""
    _signal(os.killpg, group, number)
    for pid in descendants(group, mark):
        if _group_of(pid) != group:
            _signal(os.kill, pid, number)


def _signal(send: Callable[[int, int], None], target: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # It is gone, or another user's.
        send(target, number)


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def descendants(group: int, mark: str) -> list[int]:
    """Return the living processes of the group, session or mark; on Linux only."""
    pids = []
    line = f"\0{MARK}={mark}\0".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            # After the name, which may hold any character: state, parent, group, session.
            state, _, pgrp, session = (
                (folder / "stat").read_text("latin-1").rpartition(")")[2].split()[:4]
            )
            marked = line in b"\0" + (folder / "environ").read_bytes()
        except (OSError, ValueError):
            continue  # It has ended, or is another user's.
        if state not in "ZX" and (str(group) in (pgrp, session) or marked):
            pids.append(int(folder.name))
    return pids


def _high_water(pid: int) -> int:
    """Return the peak memory of a process so far, in bytes; 0 if it is unknown."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return 0
    return 0


def _peak(usage: int, sample: int) -> int | None:
    """Return the peak memory of the command.

    :param usage: the kernel's count, which begins at the parent's size at the fork. So a count
        below our own size tells nothing.
    :param sample: the highest size that was read while the command ran.
    """
    return usage if usage > _high_water(os.getpid()) else sample or None
