"""The writer: a thread that writes recordings, and one that samples the stacks of slow ones.

Both are daemons that start with the first request of a process. A write that fails is
repeated; after :data:`GIVEN_UP_AFTER` seconds its minute is dropped and counted as lost.
See docs/decisions/profiling.md#a-minute-is-written-whole.
"""

from __future__ import annotations

import atexit
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter, time
from types import FrameType
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from ... import settings
from ...engine import fingerprint
from ...models.profiles import MINUTE
from .. import metrics
from .. import reports as profiles
from ..paths import relative_path
from .aggregates import KEPT, OTHER, Aggregate, Aggregates, Key, Minute
from .callers import Place, is_door, is_recorder
from .recording import Recording

if TYPE_CHECKING:
    from flask import Flask


log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""Seconds of data that a killed process loses at most."""
GIVEN_UP_AFTER = 5 * MINUTE
"""Less than the age at which minutes are compacted, so that no compacted minute changes."""
EXIT_SECONDS = 3.0
"""Seconds that the end of a process waits for the last write."""
LOOK_SECONDS = 0.25
"""Seconds after which the stack of a request is sampled."""
CLOSEST = 0.02
FORGOTTEN_SECONDS = 3600.0
FLOORS_SECONDS = 3600.0
"""Seconds for which the floors hold: the slower traces may have been pruned by then."""
MOST_SAMPLES = 200
DEEPEST = 100
STATEMENTS_OF_TRACE = 200
PREPARING = ("CREATE ", "ALTER ", "DROP ", "PRAGMA ")


class Writer:
    """The writer of one process."""

    def __init__(
        self, app: Flask, aggregates: Aggregates, *, seconds: float = FLUSH_SECONDS
    ) -> None:
        self._app = weakref.ref(app)
        self._aggregates = aggregates
        self._seconds = seconds
        self._fingerprints: dict[str, str] = {}
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._is_down = False
        self._floors_end = time() + FLOORS_SECONDS
        self.is_running = False
        self.process = uuid4().hex
        self.lost = 0
        """The number of requests and commands that could not be written."""

    def anew(self, aggregates: Aggregates) -> Writer:
        """Return a writer of the same settings for a forked process."""
        app = self._app()
        return self if app is None else Writer(app, aggregates, seconds=self._seconds)

    def start(self) -> None:
        """Start the threads, unless they run."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._write_until_stopped, name="opsapp-profiles", daemon=True
                )
                self._thread.start()
                threading.Thread(
                    target=self._sample_until_stopped, name="opsapp-profiles-sampler", daemon=True
                ).start()
                atexit.register(self.stop)
            self.is_running = True

    def stop(self) -> None:
        """Write the rest, and wait for that for :data:`EXIT_SECONDS`."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(EXIT_SECONDS)

    def _write_until_stopped(self) -> None:
        while not self._stop.wait(self._seconds) and self._app() is not None:
            self.flush()
        self.flush()

    # --- writing -----------------------------------------------------------------

    def flush(self, own: Callable[[], Any] | None = None) -> bool:
        """Write the changes, and tell whether that worked. It never raises.

        :param own: opens the transaction; a bookkeeping one by default.
        """
        app = self._app()
        if app is None:
            return False
        with self._writing:
            try:
                with app.app_context():
                    self._flush(own)
            except Exception as error:  # noqa: BLE001  (the recorded request must not notice)
                self._note_failure(error)
                return False
        self._is_down = False
        return True

    def _flush(self, own: Callable[[], Any] | None) -> None:
        aggregates = self._aggregates
        now = int(time())
        with aggregates.lock:
            snapshots = [(minute, minute.snapshot()) for minute in aggregates.minutes.values()]
            traces, aggregates.traces = aggregates.traces, {}
            if now > self._floors_end:
                aggregates.floors.clear()
                self._floors_end = now + FLOORS_SECONDS
        windows = [row for minute, snapshot in snapshots for row in self._windows(minute, snapshot)]
        rows = [self._trace(kind, r) for (kind, _), items in traces.items() for _, _, r in items]
        try:
            if windows or rows:
                floors = profiles.store(self.process, windows, rows, limit=KEPT, own=own)
                aggregates.floors.update(floors)
        except BaseException:
            self._keep([minute for minute, _snapshot in snapshots], now)
            raise
        with aggregates.lock:
            for minute, snapshot in snapshots:
                minute.mark_stored(snapshot)
                if minute.starts_at + 2 * MINUTE <= now:
                    aggregates.minutes.pop(minute.starts_at, None)

    def _keep(self, minutes: list[Minute], now: int) -> None:
        """Keep the minutes for the next write, and drop those that are too old."""
        aggregates = self._aggregates
        with aggregates.lock:
            for minute in minutes:
                if minute.starts_at + GIVEN_UP_AFTER <= now:
                    aggregates.minutes.pop(minute.starts_at, None)
                    aggregates_of_names = minute.names.values()
                    self._note_loss(sum(a.count - a.stored for a in aggregates_of_names))

    def _note_loss(self, count: int) -> None:
        self.lost += count
        app = self._app()
        if count and app is not None and settings.of(app, "OPSAPP_METRICS"):
            metrics.lost.inc(count)

    def _note_failure(self, error: Exception) -> None:
        # Log only the first of a row of failures.
        level = logging.DEBUG if self._is_down or self._stop.is_set() else logging.INFO
        log.log(level, "profiles wait: %s", type(error).__name__)
        self._is_down = True

    def _windows(
        self, minute: Minute, snapshot: list[tuple[Key, Aggregate]]
    ) -> list[profiles.Window]:
        """Return the rows of one minute; statements that differ in literals only are one row."""
        rows: dict[profiles.Series, profiles.Window] = {}
        changed: set[profiles.Series] = set()
        for key, aggregate in snapshot:
            series = self._series(key)
            if series[0] == "query" and series[1].startswith(PREPARING):
                continue  # A migration sends them once.
            row = rows.setdefault(series, profiles.Window(series, minute.starts_at))
            row.add(aggregate)
            if aggregate.count != aggregate.stored:
                changed.add(series)
        return [rows[series] for series in changed]

    def _series(self, key: Key) -> profiles.Series:
        kind, name, place, number, statement = key
        if kind == "query":
            return kind, self._fingerprint(name), _line(place, number), statement
        if kind == "repeat":
            return kind, name, _line(place, number), self._fingerprint(statement)
        return kind, name, "", ""

    def _fingerprint(self, statement: str) -> str:
        if statement == OTHER:
            return OTHER
        text = self._fingerprints.get(statement)
        if text is None:
            if len(self._fingerprints) > 5000:
                self._fingerprints.clear()
            text = self._fingerprints[statement] = fingerprint.fingerprint(
                statement, profiles.shown_names()
            )
        return text

    def _trace(self, kind: str, recording: Recording) -> profiles.Trace:
        statements = [
            [
                round(at - recording.started, 6),
                round(seconds, 6),
                self._fingerprint(statement),
                _line(place, number),
            ]
            for (statement, place, number), at, seconds in recording.sent[:STATEMENTS_OF_TRACE]
        ]
        samples: dict[tuple[str, ...], float] = {}
        for seconds, stack in recording.samples or ():
            samples[stack] = samples.get(stack, 0.0) + seconds
        return {
            "kind": kind,
            "name": recording.name[:255],
            "at": datetime.fromtimestamp(recording.ended, UTC),
            "seconds": recording.seconds,
            "status": recording.status,
            "queries": recording.queries or len(recording.sent),
            "query_seconds": sum(seconds for _key, _at, seconds in recording.sent),
            "detail": {
                "sent": statements,
                "samples": [[round(s, 4), list(stack)] for stack, s in samples.items()],
                "error": recording.error,
                "correlation": recording.number,
                **(recording.profile_detail or {}),
            },
        }

    # --- sampling ----------------------------------------------------------------

    def _sample_until_stopped(self) -> None:
        wait = LOOK_SECONDS
        while not self._stop.wait(wait) and self._app() is not None:
            slow = self._sample_once()
            wait = CLOSEST if slow else LOOK_SECONDS

    def _sample_once(self) -> bool:
        """Sample the stacks of slow recordings, and tell whether there is one."""
        now = perf_counter()
        running = self._aggregates.running
        slow = [r for r in list(running.values()) if now - r.started > LOOK_SECONDS]
        for recording in slow:
            # A server that does not close its answers must not fill the memory.
            if now - recording.started > FORGOTTEN_SECONDS:
                running.pop(id(recording), None)
        due = [r for r in slow if now >= r.next_sample]
        frames = sys._current_frames() if due else {}  # noqa: SLF001  (documented under this name)
        for recording in due:
            frame = frames.get(recording.thread)
            samples = recording.samples = recording.samples or []
            if frame is None or len(samples) >= MOST_SAMPLES:
                continue
            # Samples of older recordings are further apart; each counts for its interval.
            age = now - recording.started
            step = max(CLOSEST, age * CLOSEST)
            recording.next_sample = now + step
            samples.append((step, _stack(frame)))
        return bool(slow)


def _line(place: Place | None, instruction: int) -> str:
    return "" if place is None else place.line(instruction)


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Return the functions of a stack below the recorder, the outermost first."""
    functions: list[str] = []
    while frame is not None and len(functions) < DEEPEST:
        code = frame.f_code
        if is_door(code.co_filename, code.co_name):
            break
        if not is_recorder(code.co_filename):
            functions.append(f"{relative_path(code.co_filename)} in {code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(functions))
