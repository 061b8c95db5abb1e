"""A run of a job: the lock, the record, the attempts, the alerts.

The order never differs: take the lock → record the beginning → run the command →
record the end → release the lock → send the alerts. So every run is in the history, an
open row whose lock is free is a crash, and two runs of a name never overlap.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from itertools import count
from queue import Empty
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from .. import clock, signals
from ..engine.conditions import translate_error
from ..errors import Busy, NotFound, NotReady, OpsError, Refused
from ..extensions import db, this_app
from ..models import JobRun
from ..text import first_line
from . import lock, process, runs, schedule
from .invocation import Invocation, secrets_in
from .lock import JobLock
from .output import Pieces, Recorder, Sink, Tail
from .process import Attempt, Ended, Events, Replaced, Signalled
from .runs import End, Unwritten

if TYPE_CHECKING:
    from .alerts import Alerts

COMING_BACK = 5.0
"""Seconds after the start of the database's server in which lock holders reconnect."""
NAMELESS = 30.0
"""Seconds for which a process may hold the lock without having written its row."""
END_SECONDS = 60
"""Seconds of trying to record the end of a run while the database is away."""
SKIPPED, TAKEN = "skipped", "taken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The outcome of a run. ``taken`` is a slot that another host ran."""

    status: str
    exit_code: int
    run_id: int | None = None
    reason: str | None = None
    output_error: OSError | None = None


def run(invocation: Invocation, *, sinks: tuple[Sink, Sink], say: Callable[[str], None]) -> Outcome:
    """Run the command of ``invocation`` unless another run of its name is active.

    :param sinks: take the command's stdout and stderr as they come.
    :param say: takes a remark for stderr.
    :raises Busy: another run is active; names its process, host and start.
    :raises Refused: the command of a run of this name started us, and would wait for itself.
    :raises NotReady: the database is away, so nothing was started.
    """
    from .alerts import Alerts

    _refuse_within_itself(invocation)
    alerts = Alerts(invocation.name, invocation.options, invocation.correlation)
    # A signal ends the wait as it ends every command; from here on it is for the job's command.
    job_lock = _take(invocation)
    if isinstance(job_lock, JobRun):
        return _stay_out(invocation, job_lock)
    events: Events = Events()
    with process.passing_on(events):
        try:
            return _run_locked(invocation, job_lock, events, sinks, say, alerts)
        finally:
            job_lock.close()
            alerts.send()


# --- the lock ----------------------------------------------------------------


def _refuse_within_itself(invocation: Invocation) -> None:
    """
    :raises Refused: the active run is the one that started this process.
    """
    name = invocation.name
    if os.environ.get("OPSAPP_JOB") == name:
        run = lock.retry_patiently(partial(runs.find_open_run, name))
        if run is not None and run.correlation == os.environ.get(process.MARK):
            raise Refused(f"{name} runs itself: it would wait for its own end (run {run.id})")


def _take(invocation: Invocation) -> JobLock | JobRun:
    """Take the job's lock, or return the run that has it.

    :raises Busy: a process has had the lock for long and has not written its row.
    """
    name, on_busy = invocation.name, invocation.options.on_busy
    wait = schedule.seconds(on_busy.wait) if on_busy.word == "wait" else 0
    # The pauses grow: a crowd that asks often would keep the winner from writing its row.
    for _turn in lock.turns(NAMELESS, lock.CROWD_TURN):
        job_lock = lock.take(db.our_engine, runs.lock_name(name), wait=wait)
        if job_lock is not None and not _is_just_back(job_lock):
            return job_lock
        run = lock.retry_patiently(partial(runs.find_open_run, name))
        if job_lock is None and run is not None:
            return run
        if job_lock is not None and run is None:
            return job_lock
        if job_lock is not None:
            job_lock.close()  # Its runner has lost only its session, and takes the lock again.
    raise Busy(f"{name} is running, and its run is not recorded yet")


def _is_just_back(job_lock: JobLock) -> bool:
    """Return whether the server started so lately that runs may be about to reconnect."""
    age = job_lock.server_age()
    return age is not None and age < COMING_BACK


def _stay_out(invocation: Invocation, run: JobRun) -> Outcome:
    """Return the outcome while another run is active.

    :raises Busy: it is an error.
    """
    reason = f"{invocation.name} is running: {runs.holder(run)}"
    if invocation.slot is not None and run.slot == invocation.slot:
        return Outcome(status=TAKEN, exit_code=0)
    if invocation.options.on_busy.word != "skip":
        hint = f"--on-busy skip or --on-busy wait=10m; flask jobs history {invocation.name}"
        raise Busy(reason, hint=hint)
    is_ours = lock.retry_patiently(partial(runs.skip, invocation.start(), reason))
    return Outcome(status=SKIPPED if is_ours else TAKEN, exit_code=0, reason=reason)


# --- the run -----------------------------------------------------------------


def _run_locked(
    invocation: Invocation,
    job_lock: JobLock,
    events: Events,
    sinks: tuple[Sink, Sink],
    say: Callable[[str], None],
    alerts: Alerts,
) -> Outcome:
    beginning = lock.retry_patiently(partial(runs.begin, invocation.start()))
    if beginning is None:
        return Outcome(status=TAKEN, exit_code=0, reason="another run already took this slot")
    run_id, crashed = beginning
    run = _Run(invocation, run_id, job_lock, events, sinks, say)
    job_lock.watch(run.is_replaced, lambda: events.put(Replaced()))
    run.announce(signals.job_started)
    alerts.note_start(run_id, crashed=crashed)
    end = run.work()
    is_written = run.write(end)
    run.announce(
        signals.job_finished, status=end.status, exit_code=end.exit_code, seconds=end.seconds
    )
    alerts.note_end(run_id if is_written else None, end)
    return run.outcome(end, is_written=is_written)


class _Run:
    """One run that has the lock and its row."""

    def __init__(
        self,
        invocation: Invocation,
        run_id: int,
        job_lock: JobLock,
        events: Events,
        sinks: tuple[Sink, Sink],
        say: Callable[[str], None],
    ) -> None:
        self._invocation = invocation
        self._options = invocation.options
        self._id = run_id
        self._lock = job_lock
        self._events = events
        self._sinks = sinks
        self._say = say
        self._environ = invocation.variables(run_id)
        secrets = secrets_in(self._environ)
        self._tails = Tail(secrets), Tail(secrets)
        self._unwritten = Unwritten()
        self._attempts = 0
        self._output_error: OSError | None = None
        self._peak = 0

    def is_replaced(self, connection: sa.Connection) -> bool:
        """Return whether another run took this one for crashed and has begun."""
        return bool(connection.scalar(runs.is_replaced(self._id)))

    def announce(self, signal: Any, **payload: Any) -> None:
        """Send a signal of this run."""
        signals.announce(
            signal,
            this_app(),
            actor=self._invocation.actor,
            correlation=self._invocation.correlation,
            name=self._invocation.name,
            run_id=self._id,
            **payload,
        )

    def work(self) -> End:
        """Run the command, and again if it fails and may be retried."""
        start = time.monotonic()
        recorder = Recorder(self._take_output, self._flush)
        recorder.start()
        try:
            status, end = self._attempt_all()
        finally:
            self._unwritten = recorder.stop()
        return End(
            status=status,
            exit_code=_exit_code(status, end),
            seconds=time.monotonic() - start,
            attempts=self._attempts,
            peak_bytes=self._peak or None,
            reason=self._reason(status, end),
        )

    def _attempt_all(self) -> tuple[str, Ended]:
        while True:
            self._attempts += 1
            end = self._attempt()
            status = self._status(end)
            if status in ("succeeded", "terminated") or self._attempts > self._options.retries:
                return status, end
            delay = self._options.retry_delay
            self._say(
                f"{self._invocation.name}: attempt {self._attempts} {status}; "
                f"the next one in {clock.format_duration(delay.total_seconds())}."
            )
            if (stopped := self._pause(delay)) is not None:
                return "terminated", stopped

    def _attempt(self) -> Ended:
        options = self._options
        end, error = process.run(
            Attempt(
                argv=self._invocation.argv(self._environ),
                environ=self._environ,
                timeout=schedule.seconds(options.timeout),
                kill_after=options.kill_after.total_seconds(),
                tails=self._tails,
                sinks=self._sinks,
                keep_open=(self._lock.descriptor,),
            ),
            self._events,
        )
        self._output_error = self._output_error or error
        self._peak = max(self._peak, end.peak_bytes or 0)
        return end

    def _pause(self, delay: timedelta) -> Ended | None:
        """Wait before the next attempt; return the end of the run if an event ends it."""
        deadline = time.monotonic() + delay.total_seconds()
        while (seconds := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=seconds)
            except Empty:
                return None
            if isinstance(event, Replaced) or event.is_to_stop:
                code = 128 + event.number if isinstance(event, Signalled) else Busy.exit_code
                return Ended(exit_code=code, seconds=0.0, stopped_by=event)
        return None

    def _status(self, end: Ended) -> str:
        if end.stopped_by is not None:
            return "terminated"
        if end.timed_out:
            return "timed-out"
        return "failed" if end.exit_code or self._is_too_fast(end) else "succeeded"

    def _is_too_fast(self, end: Ended) -> bool:
        least = self._options.min_duration
        return least is not None and end.seconds < least.total_seconds()

    def _reason(self, status: str, end: Ended) -> str | None:
        if isinstance(end.stopped_by, Replaced):
            return "its lock was lost, and another run had begun when the database came back"
        if end.stopped_by is not None:
            return f"{signal.Signals(end.stopped_by.number).name} to the runner"
        if status == "timed-out":
            length = self._options.timeout or timedelta()
            return f"it took longer than {clock.format_duration(length.total_seconds())}"
        if status == "failed" and end.exit_code == 0:
            least = self._options.min_duration or timedelta()
            duration, minimum = (
                clock.format_duration(end.seconds),
                clock.format_duration(least.total_seconds()),
            )
            return f"it ended with 0 after {duration}, sooner than {minimum}"
        return end.reason

    # --- recording ---

    def write(self, end: End) -> bool:
        """Record the end, also if the database comes back only after a while."""
        self._unwritten.add(self._take_output(everything=True))
        deadline = time.monotonic() + END_SECONDS
        for turn in count():
            try:
                runs.finish(self._id, end, self._unwritten)
            except (SQLAlchemyError, OpsError) as error:
                is_over = time.monotonic() >= deadline or isinstance(error, NotFound)
                if is_over or self._is_to_stop():
                    self._say(f"The end of {self._invocation.name} was not recorded: {_why(error)}")
                    return False
                if turn == 0:
                    self._say(
                        f"The end of {self._invocation.name} cannot be recorded yet: {_why(error)};"
                        f" it keeps its lock and tries for {END_SECONDS} seconds."
                    )
                time.sleep(0.5)
            else:
                break
        return True

    def _is_to_stop(self) -> bool:
        try:
            event = self._events.get_nowait()
        except Empty:
            return False
        return isinstance(event, Signalled) and event.is_to_stop

    def _take_output(self, *, everything: bool = False) -> Pieces:
        """Take the output since the last call, by stream."""
        pieces = [tail.take(everything=everything) for tail in self._tails]
        return [
            (stream, text)
            for stream, text in zip(("stdout", "stderr"), pieces, strict=True)
            if text
        ]

    def _flush(self, output: Unwritten) -> None:
        """Record output while the command still runs."""
        runs.add_output(self._id, output, attempts=self._attempts)

    def outcome(self, end: End, *, is_written: bool) -> Outcome:
        """Return the outcome of the run; 0 becomes 7 if its end could not be recorded."""
        code = end.exit_code or 0
        return Outcome(
            status=end.status,
            exit_code=code if is_written or code else NotReady.exit_code,
            run_id=self._id,
            reason=end.reason,
            output_error=self._output_error,
        )


def _exit_code(status: str, end: Ended) -> int:
    if isinstance(end.stopped_by, Replaced):
        return Busy.exit_code
    return OpsError.exit_code if status == "failed" and not end.exit_code else end.exit_code


def _why(error: SQLAlchemyError | OpsError) -> str:
    condition = translate_error(error) if isinstance(error, SQLAlchemyError) else error
    return condition.message if condition else first_line(error)
