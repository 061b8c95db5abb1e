"""The thread that writes what was recorded, and the one that looks at what takes long.

Both are daemons that begin with the first request of a process. The writer has a
session of its own; whatever goes wrong there is counted and tried again, and after
:data:`GIVEN_UP_AFTER` seconds forgotten, with a count of what was lost.
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

from ...engine import fingerprint
from ...models.profiles import MINUTE
from .. import metrics
from .. import reports as profiles
from .aggregates import KEPT, OTHER, Aggregate, Aggregates, Key, Minute
from .callers import Place, is_door, is_recorder, relative_path
from .recording import Recording

if TYPE_CHECKING:
    from flask import Flask


log = logging.getLogger(__name__)

FLUSH_SECONDS = 5.0
"""So much is lost at most when a process is killed."""
GIVEN_UP_AFTER = 5 * MINUTE
"""Far less than what compacting leaves alone: a minute that was added up is never written again."""
EXIT_SECONDS = 3.0
"""So long the end of a process waits for what was not yet written."""
LOOK_SECONDS = 0.25
"""What takes longer than this has its stack looked at."""
CLOSEST = 0.02
FORGOTTEN_SECONDS = 3600.0
FLOORS_SECONDS = 3600.0
"""So long is known how slow a trace has to be; those that were slower are pruned some day."""
MOST_SAMPLES = 200
DEEPEST = 100
STATEMENTS_OF_TRACE = 200
PREPARING = ("CREATE ", "ALTER ", "DROP ", "PRAGMA ")


class Writer:
    """Writes what was counted."""

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
        """Requests and commands that were recorded and never written."""

    def anew(self, aggregates: Aggregates) -> Writer:
        """Make the same writer for a forked process, which counts by itself."""
        app = self._app()
        return self if app is None else Writer(app, aggregates, seconds=self._seconds)

    def start(self) -> None:
        """Begin to write now and then, unless it has begun."""
        with self._lock:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._write_now_and_then, name="opsapp-profiles", daemon=True
                )
                self._thread.start()
                threading.Thread(
                    target=self._look, name="opsapp-profiles-sampler", daemon=True
                ).start()
                atexit.register(self.stop)
            self.is_running = True

    def stop(self) -> None:
        """Write what is left; waits for that, and not for long."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(EXIT_SECONDS)

    def _write_now_and_then(self) -> None:
        while not self._stop.wait(self._seconds) and self._app() is not None:
            self.flush()
        self.flush()

    # --- writing -----------------------------------------------------------------

    def flush(self, own: Callable[[], Any] | None = None) -> bool:
        """Write what has changed; whether that worked. It never raises.

        :param own: opens the transaction to write in; a bookkeeping one if not given.
        """
        app = self._app()
        if app is None:
            return False
        with self._writing:
            try:
                with app.app_context():
                    self._flush(own)
            except Exception as error:  # noqa: BLE001  (who is recorded must not notice)
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
        """Leave what was not written for the next time, and forget what is too old by now."""
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
        if count and app is not None and app.config["OPSAPP_METRICS"]:
            metrics.lost.inc(count)

    def _note_failure(self, error: Exception) -> None:
        # Once, when it begins: a database that is away is away for every flush.
        level = logging.DEBUG if self._is_down or self._stop.is_set() else logging.INFO
        log.log(level, "profiles wait: %s", type(error).__name__)
        self._is_down = True

    def _windows(
        self, minute: Minute, snapshot: list[tuple[Key, Aggregate]]
    ) -> list[profiles.Window]:
        """The rows of one minute; statements that differ in literals only become one."""
        rows: dict[profiles.Series, profiles.Window] = {}
        changed: set[profiles.Series] = set()
        for key, aggregate in snapshot:
            series = self._series(key)
            if series[0] == "query" and series[1].startswith(PREPARING):
                continue  # They come once, with a migration.
            row = rows.setdefault(series, profiles.Window(series, minute.starts_at))
            row.add(aggregate)
            if aggregate.count != aggregate.stored:
                changed.add(series)
        return [rows[series] for series in changed]

    def _series(self, key: Key) -> profiles.Series:
        kind, name, place, number, statement = key
        if kind == "query":
            return kind, self._fingerprint(name), _line(place, number), ""
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
        sent = [
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
                "sent": sent,
                "samples": [[round(s, 4), list(stack)] for stack, s in samples.items()],
                "error": recording.error,
                "correlation": recording.number,
                **(recording.is_asked or {}),
            },
        }

    # --- looking at what takes long ------------------------------------------------

    def _look(self) -> None:
        wait = LOOK_SECONDS
        while not self._stop.wait(wait) and self._app() is not None:
            slow = self._look_once()
            wait = CLOSEST if slow else LOOK_SECONDS

    def _look_once(self) -> bool:
        """Keep the stacks of what has been running for long; whether there is any."""
        now = perf_counter()
        running = self._aggregates.running
        slow = [r for r in list(running.values()) if now - r.started > LOOK_SECONDS]
        for recording in slow:
            # A server that does not close what it sends must not fill the memory.
            if now - recording.started > FORGOTTEN_SECONDS:
                running.pop(id(recording), None)
        due = [r for r in slow if now >= r.next_sample]
        frames = sys._current_frames() if due else {}  # noqa: SLF001  (documented under this name)
        for recording in due:
            frame = frames.get(recording.thread)
            samples = recording.samples = recording.samples or []
            if frame is None or len(samples) >= MOST_SAMPLES:
                continue
            # The longer it takes, the further apart; each counts for the time since the last.
            age = now - recording.started
            step = max(CLOSEST, age * CLOSEST)
            recording.next_sample = now + step
            samples.append((step, _stack(frame)))
        return bool(slow)


def _line(place: Place | None, instruction: int) -> str:
    return "" if place is None else place.line(instruction)


def _stack(frame: FrameType | None) -> tuple[str, ...]:
    """Name the application's functions of a stack, the outermost first, at most so many."""
    functions: list[str] = []
    while frame is not None and len(functions) < DEEPEST:
        code = frame.f_code
        if is_door(code.co_filename, code.co_name):
            break
        if not is_recorder(code.co_filename):
            functions.append(f"{relative_path(code.co_filename)} in {code.co_qualname}")
        frame = frame.f_back
    return tuple(reversed(functions))
