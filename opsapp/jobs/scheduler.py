"""The scheduler: `flask jobs serve`, in the foreground.

Each slot starts a process (`flask jobs run NAME --slot …`) on every host that serves; the
first host to record the slot runs it. So the scheduler itself needs no database. A slot
that finds the database away is tried again.
Reasons: docs/decisions/jobs.md#serve-starts-a-process-for-each-slot
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from queue import Empty
from tempfile import TemporaryDirectory

from .. import clock, text
from ..errors import NotReady
from ..profiling.record.recording import waiting
from . import schedule
from .process import Events, Signalled, passing_on
from .schedule import Job

LATE = timedelta(minutes=1)
"""A slot that is older than this, as after the sleep of a machine, is left out."""
LOOK = 30.0
"""Seconds between two looks at the clock and at the file, at most."""
AGAIN = 2.0
"""Seconds between two tries of a slot while the database is away."""
AGAIN_FOR = timedelta(minutes=10)
"""The time after which such a slot is given up."""

Command = Callable[[Job, datetime, Path], list[str]]
"""Returns the words that run a job of the file for a slot."""


def due_slots(jobs: Iterable[Job], after: datetime, until: datetime) -> list[tuple[datetime, Job]]:
    """Return the slots after ``after`` and up to ``until``, the oldest first."""
    moments = [
        (slot, job)
        for job in jobs
        if job.is_scheduled
        for slot in schedule.slots(job, after, until)
    ]
    return sorted(moments, key=lambda moment: (moment[0], moment[1].name))


def due_since(last: datetime, now: datetime) -> datetime:
    """Return the moment after which slots are due: the last look, or later after a sleep."""
    if now < last - LATE:
        return now  # The clock was set back; a slot that ran is recorded, and does not run again.
    return max(last, now - LATE)


@dataclass(frozen=True, slots=True)
class _Ended:
    """The event that a run of this process has ended."""

    run: _Started


@dataclass(slots=True)
class _Started:
    """A run that this process started."""

    job: Job
    slot: datetime
    process: subprocess.Popen[bytes]


class Server:
    """The process that starts due jobs until a signal stops it."""

    def __init__(
        self, command: Command, environ: Mapping[str, str], say: Callable[[str], None]
    ) -> None:
        self._command = command
        self._environ = environ
        self._say = say
        self._events = Events()
        self._running: list[_Started] = []
        self._again: list[tuple[float, Job, datetime]] = []
        self._file = _File(say)

    def serve(self, *, grace: timedelta) -> None:
        """Serve until a signal; then give the active runs ``grace``, and end them.

        :raises NotReady: `jobs.toml` cannot be used.
        """
        with self._file:
            self._serve(grace)

    def _serve(self, grace: timedelta) -> None:
        jobs = self._file.jobs()
        count = text.pluralize(sum(job.is_scheduled for job in jobs), "job")
        self._say(f"Serving {count} of {schedule.path()}.")
        with passing_on(self._events):
            last = clock.now()
            while not self._is_stopped(self._pause(jobs, last)):
                now, jobs = clock.now(), self._file.jobs()
                for slot, job in due_slots(jobs, due_since(last, now), now):
                    self._start(job, slot)
                self._start_again()
                last = now
            self._stop(grace)

    def _pause(self, jobs: list[Job], last: datetime) -> object:
        """Wait for the next slot or an event; return the event."""
        following = [
            slot for job in jobs if job.is_scheduled if (slot := schedule.next_slot(job, last))
        ]
        waits = [(slot - clock.now()).total_seconds() for slot in following]
        waits += [moment - time.monotonic() for moment, *_rest in self._again]
        try:
            with waiting():  # Else `flask profile` would show hours of nothing.
                return self._events.get(timeout=max(0.0, min([LOOK, *waits])))
        except Empty:
            return None

    def _is_stopped(self, event: object) -> bool:
        if isinstance(event, _Ended):
            self._note(event.run)
        return isinstance(event, Signalled) and event.is_to_stop

    # --- the runs ---

    def _start(self, job: Job, slot: datetime) -> None:
        process = subprocess.Popen(
            self._command(job, slot, self._file.copy),
            env=dict(self._environ),
            stdin=subprocess.DEVNULL,
            process_group=0,  # Ctrl-C is for this process, which ends the runs itself.
        )
        run = _Started(job, slot, process)
        self._running.append(run)
        threading.Thread(target=self._wait, args=(run,), daemon=True).start()

    def _wait(self, run: _Started) -> None:
        run.process.wait()
        self._events.put(_Ended(run))

    def _note(self, run: _Started) -> None:
        self._running.remove(run)
        code = run.process.returncode
        if code == NotReady.exit_code and clock.now() < self._end_of_trying(run):
            self._again.append((time.monotonic() + AGAIN, run.job, run.slot))
        elif code:
            self._say(f"{run.job.name} of {clock.rfc3339(run.slot)} ended with {code}.")

    def _end_of_trying(self, run: _Started) -> datetime:
        following = schedule.next_slot(run.job, run.slot)
        latest = run.slot + AGAIN_FOR
        return min(latest, following) if following else latest

    def _start_again(self) -> None:
        now = time.monotonic()
        retries = [retry for retry in self._again if retry[0] <= now]
        self._again = [retry for retry in self._again if retry[0] > now]
        for _moment, job, slot in retries:
            self._start(job, slot)

    # --- the end ---

    def _stop(self, grace: timedelta) -> None:
        if self._running:
            runs = text.pluralize(len(self._running), "run")
            self._say(f"Stopping; {runs} may end within {_length(grace)}.")
        self._await(time.monotonic() + grace.total_seconds())
        for run in self._running:
            run.process.terminate()
        self._await(None)
        self._say("Stopped.")

    def _await(self, deadline: float | None) -> None:
        """Wait until all runs have ended, the deadline has passed, or a signal comes."""
        while self._running:
            seconds = None if deadline is None else deadline - time.monotonic()
            if seconds is not None and seconds <= 0:
                return
            try:
                event = self._events.get(timeout=seconds)
            except Empty:
                return
            if isinstance(event, _Ended):
                self._running.remove(event.run)
            elif deadline is not None:
                return


def _length(length: timedelta) -> str:
    return clock.format_duration(length.total_seconds())


class _File:
    """`jobs.toml`, read again when it changes; the last good one stays in use.

    Runs read a copy of the last good file, so their times and commands agree, even while an
    operator writes the file.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._state: object = None
        self._jobs: list[Job] = []
        self._folder = TemporaryDirectory(prefix="opsapp-jobs-")
        self.copy = Path(self._folder.name, "jobs.toml")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exc: object) -> None:
        self._folder.cleanup()

    def jobs(self) -> list[Job]:
        """Return the jobs of the last good file.

        :raises NotReady: there was no good file yet.
        """
        path = schedule.path()
        if (state := _state(path)) != self._state:
            try:
                self._read(path)
            except NotReady as error:
                if self._state is None:
                    raise
                self._say(f"{text.safe(error.message)}; the last good schedule stays in use.")
            self._state = state
        return self._jobs

    def _read(self, path: Path) -> None:
        content = schedule.read(path)
        self._jobs = list(schedule.parse(content, path).values())
        new = self.copy.with_suffix(".new")
        new.write_text(content, encoding="utf-8")
        new.replace(self.copy)  # A reader never finds half a file.


def _state(path: Path) -> object:
    try:
        stat = path.stat()
    except OSError:
        return "away"
    return path, stat.st_ino, stat.st_mtime_ns, stat.st_size
