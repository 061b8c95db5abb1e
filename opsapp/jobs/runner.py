"""A run of a job: the lock, the record, the attempts, the alerts.

The order never differs: take the lock → write that it begins → run the command →
write how it ended → let go of the lock → tell. So the history has whatever ran, a row
that is open without a lock is a crash, and no two runs of a name ever meet.
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
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from .. import clock, signals
from ..engine.conditions import explained
from ..errors import Busy, NotFound, NotReady, OpsError, Refused
from ..extensions import db, this_app
from ..models import JobRun
from ..text import first_line
from . import lock as keeping
from . import process, runs, schedule
from .invocation import Order, secrets_in
from .output import Sink, Tail
from .process import Attempt, Ended, Events, Replaced, Signalled
from .recording import Pieces, Recorder
from .runs import End

COMING_BACK = 5.0
"""Seconds after the start of the database's server in which the holders of locks come back."""
NAMELESS = 30.0
"""Seconds for which somebody may have the lock and not have written its row."""
END_SECONDS = 60
"""So long it is tried to write the end of a run while the database is away."""
SKIPPED, TAKEN = "skipped", "taken"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How it went. ``taken`` is a slot that another host had."""

    status: str
    exit_code: int
    run_id: int | None = None
    reason: str | None = None
    output_error: OSError | None = None


def run(order: Order, *, sinks: tuple[Sink, Sink], say: Say) -> Outcome:
    """Run the command of ``order`` once no other run of its name does.

    :param sinks: take the command's stdout and stderr as they come.
    :param say: takes a remark for whoever reads stderr.
    :raises Busy: another run does; says which, where and since when.
    :raises Refused: the command of a run of its name runs it, and would wait for itself.
    :raises NotReady: the database is away, so nothing was started.
    """
    from . import alerts

    _refuse_within_itself(order)
    told = alerts.Alerts(order.name, order.options, order.correlation)
    # While it waits a signal ends it like every command; from here on it is for the command.
    kept = _take(order)
    if isinstance(kept, JobRun):
        return _kept_out(order, kept)
    events: Events = Events()
    with process.passing_on(events):
        try:
            return _Run(order, kept, events, sinks, say, told).go()
        finally:
            kept.close()
            told.send()


# --- the lock ----------------------------------------------------------------


def _refuse_within_itself(order: Order) -> None:
    """
    :raises Refused: the run that goes on is the one that has started us.
    """
    if os.environ.get("OPSAPP_JOB") == order.name:
        run = keeping.patiently(partial(runs.open_run, order.name))
        if run is not None and run.correlation == os.environ.get(process.MARK):
            raise Refused(f"{order.name} runs itself: it would wait for its own end (run {run.id})")


def _take(order: Order) -> keeping.Kept | JobRun:
    """The job's lock, or the run that has it.

    :raises Busy: somebody has the lock for long and has not written who it is.
    """
    options, lock = order.options, runs.lock_name(order.name)
    wait = schedule.seconds(options.wait) if options.on_busy == "wait" else 0
    deadline = time.monotonic() + NAMELESS
    while time.monotonic() < deadline:
        kept = keeping.take(db.engine, lock, wait=wait)
        if kept is not None and not _is_just_back(kept):
            return kept
        run = keeping.patiently(partial(runs.open_run, order.name))
        if kept is None and run is not None:
            return run
        if kept is not None and run is None:
            return kept
        if kept is not None:
            kept.close()  # Its runner has only lost its session, and takes the lock again.
        time.sleep(0.1)  # Who has the lock is about to write its row, or to come back.
    raise Busy(f"{order.name} is running, and its run has not been written down")


def _is_just_back(kept: keeping.Kept) -> bool:
    """Whether the server was started so lately that runs may be on their way back to it."""
    age = kept.server_age()
    return age is not None and age < COMING_BACK


def _kept_out(order: Order, run: JobRun) -> Outcome:
    """What there is to do while another run goes on.

    :raises Busy: it is an error.
    """
    reason = f"{order.name} is running: {runs.holder(run)}"
    if order.slot is not None and run.slot == order.slot:
        return Outcome(status=TAKEN, exit_code=0)
    if order.options.on_busy != "skip":
        hint = f"--on-busy skip or --on-busy wait=10m; flask jobs history {order.name}"
        raise Busy(reason, hint=hint)
    is_ours = keeping.patiently(partial(runs.skip, order.start(), reason))
    return Outcome(status=SKIPPED if is_ours else TAKEN, exit_code=0, reason=reason)


# --- the run -----------------------------------------------------------------


class _Run:
    """One run that has the lock."""

    def __init__(
        self,
        order: Order,
        kept: keeping.Kept,
        events: Events,
        sinks: tuple[Sink, Sink],
        say: Say,
        told: Any,
    ) -> None:
        self._order = order
        self._options = order.options
        self._kept = kept
        self._events = events
        self._sinks = sinks
        self._say = say
        self._told = told
        self._attempts = 0
        self._output_error: OSError | None = None
        self._peak = 0

    def go(self) -> Outcome:
        """Begin, work, end."""
        begun = keeping.patiently(partial(runs.begin, self._order.start()))
        if begun is None:
            return Outcome(status=TAKEN, exit_code=0, reason="another run has had this slot")
        self._id, crashed = begun
        self._kept.watch(self._is_replaced, lambda: self._events.put(Replaced()))
        self._announce(signals.job_started)
        self._told.started(self._id, crashed=crashed)
        self._environ = self._order.variables(self._id)
        secrets = secrets_in(self._environ)
        self._tails = Tail(secrets), Tail(secrets)
        end = self._work()
        is_written = self._write(end)
        self._announce(
            signals.job_finished,
            status=end.status,
            exit_code=end.exit_code,
            seconds=end.seconds,
        )
        self._told.finished(self._id if is_written else None, end)
        return self._outcome(end, is_written=is_written)

    def _is_replaced(self, connection: sa.Connection) -> bool:
        return bool(connection.scalar(runs.is_replaced(self._id)))

    def _announce(self, signal: Any, **payload: Any) -> None:
        signals.announce(
            signal,
            this_app(),
            actor=self._order.actor,
            correlation=self._order.correlation,
            name=self._order.name,
            run_id=self._id,
            **payload,
        )

    def _work(self) -> End:
        started = time.monotonic()
        recorder = Recorder(self._take_output, self._flush)
        recorder.start()
        try:
            status, ended = self._attempt_all()
        finally:
            self._unwritten = recorder.stop()
        return End(
            status=status,
            exit_code=_exit_code(status, ended),
            seconds=time.monotonic() - started,
            attempts=self._attempts,
            peak_bytes=self._peak or None,
            reason=self._reason(status, ended),
        )

    def _attempt_all(self) -> tuple[str, Ended]:
        while True:
            self._attempts += 1
            ended = self._attempt()
            status = self._status(ended)
            if status in ("succeeded", "terminated") or self._attempts > self._options.retries:
                return status, ended
            delay = self._options.retry_delay
            self._say(
                f"{self._order.name}: attempt {self._attempts} {status}; "
                f"the next one in {clock.shown(delay.total_seconds())}."
            )
            if (stopped := self._pause(delay)) is not None:
                return "terminated", stopped

    def _attempt(self) -> Ended:
        options = self._options
        ended, error = process.run(
            Attempt(
                argv=self._order.argv(self._environ),
                environ=self._environ,
                timeout=schedule.seconds(options.timeout),
                kill_after=options.kill_after.total_seconds(),
                tails=self._tails,
                sinks=self._sinks,
                keep_open=(self._kept.descriptor,),
            ),
            self._events,
        )
        self._output_error = self._output_error or error
        self._peak = max(self._peak, ended.peak_bytes or 0)
        return ended

    def _pause(self, delay: timedelta) -> Ended | None:
        """Wait before the next attempt; what ended it, if something did."""
        deadline = time.monotonic() + delay.total_seconds()
        while (left := deadline - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left)
            except Empty:
                return None
            if isinstance(event, Replaced) or event.is_to_stop:
                code = 128 + event.number if isinstance(event, Signalled) else Busy.exit_code
                return Ended(exit_code=code, seconds=0.0, stopped_by=event)
        return None

    def _status(self, ended: Ended) -> str:
        if ended.stopped_by is not None:
            return "terminated"
        if ended.timed_out:
            return "timed-out"
        return "failed" if ended.exit_code or self._is_too_fast(ended) else "succeeded"

    def _is_too_fast(self, ended: Ended) -> bool:
        least = self._options.min_duration
        return least is not None and ended.seconds < least.total_seconds()

    def _reason(self, status: str, ended: Ended) -> str | None:
        if isinstance(ended.stopped_by, Replaced):
            return "its lock was lost, and another run had begun when the database came back"
        if ended.stopped_by is not None:
            return f"{signal.Signals(ended.stopped_by.number).name} to the runner"
        if status == "timed-out":
            length = self._options.timeout or timedelta()
            return f"it took longer than {clock.shown(length.total_seconds())}"
        if status == "failed" and ended.exit_code == 0:
            least = self._options.min_duration or timedelta()
            took, wanted = clock.shown(ended.seconds), clock.shown(least.total_seconds())
            return f"it ended with 0 after {took}, sooner than {wanted}"
        return ended.reason

    # --- writing it down ---

    def _write(self, end: End) -> bool:
        """Write the end, also if the database comes back only after a while."""
        self._unwritten.add(self._take_output(everything=True))
        deadline = time.monotonic() + END_SECONDS
        for turn in count():
            try:
                runs.finish(self._id, end, self._unwritten)
            except (SQLAlchemyError, OpsError) as error:
                is_over = time.monotonic() >= deadline or isinstance(error, NotFound)
                if is_over or self._is_told_to_stop():
                    self._say(f"How {self._order.name} ended could not be written: {_why(error)}")
                    return False
                if turn == 0:
                    self._say(
                        f"How {self._order.name} ended cannot be written yet: {_why(error)};"
                        f" it keeps its lock and tries for {END_SECONDS} seconds."
                    )
                time.sleep(0.5)
            else:
                break
        return True

    def _is_told_to_stop(self) -> bool:
        try:
            event = self._events.get_nowait()
        except Empty:
            return False
        return isinstance(event, Signalled) and event.is_to_stop

    def _take_output(self, *, everything: bool = False) -> Pieces:
        """What was printed since the last time, by stream."""
        taken = [tail.take(everything=everything) for tail in self._tails]
        return [
            (stream, text) for stream, text in zip(("stdout", "stderr"), taken, strict=True) if text
        ]

    def _flush(self, output: runs.Unwritten) -> None:
        """Write output down while the command still runs."""
        runs.add_output(self._id, output, attempts=self._attempts)

    def _outcome(self, end: End, *, is_written: bool) -> Outcome:
        code = end.exit_code or 0
        return Outcome(
            status=end.status,
            exit_code=code if is_written or code else NotReady.exit_code,
            run_id=self._id,
            reason=end.reason,
            output_error=self._output_error,
        )


def _exit_code(status: str, ended: Ended) -> int:
    if isinstance(ended.stopped_by, Replaced):
        return Busy.exit_code
    return OpsError.exit_code if status == "failed" and not ended.exit_code else ended.exit_code


def _why(error: SQLAlchemyError | OpsError) -> str:
    known = explained(error) if isinstance(error, SQLAlchemyError) else error
    return known.message if known else first_line(error)
