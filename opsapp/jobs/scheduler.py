"""The schedule run in the foreground, for containers without cron.

Each slot is started as a process of its own (`flask jobs run NAME --slot …`), on every
host that serves; who writes the slot's row first runs it. So this process needs no
database, and goes on while there is none: a slot that found it away is tried again.
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
from . import schedule
from .process import Events, Signalled, passing_on
from .schedule import Job

LATE = timedelta(minutes=1)
"""A slot that is older when it is noticed, as after the sleep of a machine, is left out."""
LOOK = 30.0
"""Seconds between two looks at the clock and at the file, at the most."""
AGAIN = 2.0
AGAIN_FOR = timedelta(minutes=10)
"""So long a slot is tried again while the database is away."""

Say = Callable[[str], None]
Command = Callable[[Job, datetime, Path], list[str]]
"""The words that run a job for a slot, as the file says."""


def due(jobs: Iterable[Job], after: datetime, until: datetime) -> list[tuple[datetime, Job]]:
    """The slots after ``after`` up to ``until``, the oldest first."""
    found = [
        (slot, job)
        for job in jobs
        if job.is_scheduled
        for slot in schedule.slots(job, after, until)
    ]
    return sorted(found, key=lambda one: (one[0], one[1].name))


def looked_back_to(last: datetime, now: datetime) -> datetime:
    """From when on slots are due: the last look, unless the clock was set or the machine slept."""
    if now < last - LATE:
        return now  # It was set back; what has run has its slot, and does not run again.
    return max(last, now - LATE)


@dataclass(frozen=True, slots=True)
class _Ended:
    """A run that was started here has ended."""

    run: _Started


@dataclass(slots=True)
class _Started:
    job: Job
    slot: datetime
    process: subprocess.Popen[bytes]


class Server:
    """Starts what is due until it is told to stop."""

    def __init__(self, command: Command, environ: Mapping[str, str], say: Say) -> None:
        self._command = command
        self._environ = environ
        self._say = say
        self._events = Events()
        self._running: list[_Started] = []
        self._again: list[tuple[float, Job, datetime]] = []
        self._file = _File(say)

    def serve(self, *, grace: timedelta) -> None:
        """Serve until a signal; then give the runs ``grace``, and end them.

        :raises NotReady: `jobs.toml` cannot be used.
        """
        with self._file:
            self._serve(grace)

    def _serve(self, grace: timedelta) -> None:
        jobs = self._file.jobs()
        self._say(f"Serving {sum(job.is_scheduled for job in jobs)} jobs of {schedule.path()}.")
        with passing_on(self._events):
            last = clock.now()
            while not self._is_stopped(self._pause(jobs, last)):
                now, jobs = clock.now(), self._file.jobs()
                for slot, job in due(jobs, looked_back_to(last, now), now):
                    self._start(job, slot)
                self._start_again()
                last = now
            self._stop(grace)

    def _pause(self, jobs: list[Job], last: datetime) -> object:
        """Wait for the next slot or for something to happen, which is returned."""
        following = [
            slot for job in jobs if job.is_scheduled if (slot := schedule.next_slot(job, last))
        ]
        waits = [(slot - clock.now()).total_seconds() for slot in following]
        waits += [moment - time.monotonic() for moment, *_rest in self._again]
        try:
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
            process_group=0,  # Ctrl-C is for us; we tell the runs in our time.
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
        due = [one for one in self._again if one[0] <= now]
        self._again = [one for one in self._again if one[0] > now]
        for _moment, job, slot in due:
            self._start(job, slot)

    # --- the end ---

    def _stop(self, grace: timedelta) -> None:
        if self._running:
            self._say(f"Stopping; {_runs(len(self._running))} may end within {_length(grace)}.")
        self._await(time.monotonic() + grace.total_seconds())
        for run in self._running:
            run.process.terminate()
        self._await(None)
        self._say("Stopped.")

    def _await(self, deadline: float | None) -> None:
        """Wait until all runs have ended, the deadline has passed, or another signal comes."""
        while self._running:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return
            try:
                event = self._events.get(timeout=left)
            except Empty:
                return
            if isinstance(event, _Ended):
                self._running.remove(event.run)
            elif deadline is not None:
                return


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"


def _length(length: timedelta) -> str:
    return clock.shown(length.total_seconds())


class _File:
    """`jobs.toml`, read again when it has changed; a wrong one is said, and the last one stays.

    What runs is told to read a copy of the last good one, so that times and commands are of
    one mind also while somebody writes the file.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._seen: object = None
        self._jobs: list[Job] = []
        self._folder = TemporaryDirectory(prefix="opsapp-jobs-")
        self.copy = Path(self._folder.name, "jobs.toml")

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_exc: object) -> None:
        self._folder.cleanup()

    def jobs(self) -> list[Job]:
        """The jobs.

        :raises NotReady: there was no good file yet.
        """
        path = schedule.path()
        if (seen := _state(path)) != self._seen:
            try:
                self._read(path)
            except NotReady as error:
                if self._seen is None:
                    raise
                self._say(f"{text.safe(error.message)}; what was read before stays.")
            self._seen = seen
        return self._jobs

    def _read(self, path: Path) -> None:
        content = schedule.read(path)
        self._jobs = list(schedule.parsed(content, path).values())
        new = self.copy.with_suffix(".new")
        new.write_text(content, encoding="utf-8")
        new.replace(self.copy)  # At no moment there is half a file.


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return "away"
    return path, found.st_ino, found.st_mtime_ns, found.st_size
