"""What was recorded, added up by the minute, in a bounded piece of memory."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappush, heapreplace
from math import ceil, log
from threading import Lock

from ..models.profiles import MINUTE
from ..sketch import GAMMA, SHORTEST
from .recording import Recording

MOST_NAMES = 1000
MOST_STATEMENTS = 5000
OTHER = "(other)"
"""What is counted together once there are too many."""
REPEATED = 5
"""So often one line sends one statement in a request, and it is a repeat."""
KEPT = 5
"""Traces of each kind that an endpoint has at most."""

_PER_LOG = 1 / log(GAMMA)

Key = tuple[str, str, str, int, str]
"""Kind, name (or statement), place, line, and the statement of a repeat."""


class Tally:
    """The sum of many recordings, as :class:`~opsapp.models.ProfileWindow` keeps it."""

    __slots__ = ("bins", "count", "errors", "most", "queries", "query_seconds", "seconds", "told")

    def __init__(self) -> None:
        self.count = self.errors = self.queries = self.told = 0
        self.seconds = self.most = self.query_seconds = 0.0
        self.bins: dict[int, int] = {}

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self.count += 1
        self.seconds += seconds
        if seconds > self.most:
            self.most = seconds
        # This is sketch.bucket(), without the call.
        number = ceil(log(seconds if seconds > SHORTEST else SHORTEST) * _PER_LOG)
        bins = self.bins
        bins[number] = bins.get(number, 0) + 1

    def copy(self) -> Tally:
        """As it is now."""
        twin = Tally()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.bins = self.bins.copy()
        return twin


class Minute:
    """Everything that ended in one minute."""

    def __init__(self, starts_at: int) -> None:
        self.starts_at = starts_at
        self.names: dict[tuple[str, str], Tally] = {}
        self.statements: dict[tuple[str, str, int], Tally] = {}
        self.repeats: dict[tuple[str, str, str, int], Tally] = {}

    def snapshot(self) -> list[tuple[Key, Tally]]:
        """Copies of everything; empty if nothing has changed since it was written last."""
        if not any(tally.count != tally.told for tally in self._all()):
            return []
        found: list[tuple[Key, Tally]] = []
        for (kind, name), tally in self.names.items():
            found.append(((kind, name, "", 0, ""), tally.copy()))
        for (statement, place, line), tally in self.statements.items():
            found.append((("query", statement, place, line, ""), tally.copy()))
        for (name, statement, place, line), tally in self.repeats.items():
            found.append((("repeat", name, place, line, statement), tally.copy()))
        return found

    def _all(self) -> Iterator[Tally]:
        yield from self.names.values()
        yield from self.statements.values()
        yield from self.repeats.values()

    def written(self, snapshot: list[tuple[Key, Tally]]) -> None:
        """The database has all tallies as they were then."""
        for tally, (_key, then) in zip(self._all(), self._ordered(snapshot), strict=False):
            tally.told = then.count

    def _ordered(self, snapshot: list[tuple[Key, Tally]]) -> Iterator[tuple[Key, Tally]]:
        yield from snapshot


class Tallies:
    """The minutes that are not written yet, and the requests worth a trace.

    Each request costs a few microseconds here, under one lock.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.minutes: dict[int, Minute] = {}
        self.traces: dict[tuple[str, str], list[tuple[float, int, Recording]]] = {}
        self.floors: dict[str, float] = {}
        """How slow a request of an endpoint has to be to be worth a trace, in seconds."""
        self._number = 0

    def add(self, recording: Recording, now: float) -> None:
        """Count a recording that has ended.

        :param now: seconds since 1970.
        """
        recording.ended = now
        if recording.is_looked_at:
            # Being looked at took most of its time, which says nothing about the endpoint.
            with self.lock:
                self._consider(recording, failed=False)
            return
        starts_at = int(now) // MINUTE * MINUTE
        failed = recording.status is None or recording.status >= 500
        if recording.kind == "command":
            failed = recording.status not in (0, 6)
        with self.lock:
            minute = self.minutes.get(starts_at)
            if minute is None:
                minute = self.minutes[starts_at] = Minute(starts_at)
            name = recording.name
            tally = minute.names.get((recording.kind, name))
            if tally is None:
                if len(minute.names) >= MOST_NAMES:
                    name = OTHER
                tally = minute.names.setdefault((recording.kind, name), Tally())
            tally.add(recording.seconds)
            tally.errors += failed
            tally.queries += recording.queries
            tally.query_seconds += recording.query_seconds
            if recording.sent:
                self._add_statements(minute, recording, name)
            self._consider(recording, failed)

    def _add_statements(self, minute: Minute, recording: Recording, name: str) -> None:
        statements = minute.statements
        times: dict[tuple[str, str, int], list[float]] = {}
        for statement, place, line, _at, seconds in recording.sent:
            key = (statement, place, line)
            tally = statements.get(key)
            if tally is None:
                if len(statements) >= MOST_STATEMENTS:
                    key = (OTHER, "", 0)
                tally = statements.setdefault(key, Tally())
            tally.add(seconds)
            found = times.get(key)
            if found is None:
                times[key] = [1, seconds]
            else:
                found[0] += 1
                found[1] += seconds
        if len(times) == len(recording.sent):
            return
        for (statement, place, line), (count, seconds) in times.items():
            if count >= REPEATED and statement is not OTHER:
                self._add_repeat(minute, (name, statement, place, line), int(count), seconds)

    def _add_repeat(
        self, minute: Minute, key: tuple[str, str, str, int], count: int, seconds: float
    ) -> None:
        tally = minute.repeats.get(key)
        if tally is None:
            if len(minute.repeats) >= MOST_NAMES:
                return
            tally = minute.repeats[key] = Tally()
        tally.add(seconds)
        tally.queries += count
        tally.query_seconds += seconds

    def _consider(self, recording: Recording, failed: bool) -> None:
        """Keep the recording if it is among the slowest of its name, failed, or was asked for."""
        kind = "asked" if recording.is_asked else "error" if failed else "slow"
        seconds = recording.seconds
        if kind == "slow" and seconds <= self.floors.get(recording.name, 0.0):
            return
        kept = self.traces.get((kind, recording.name))
        if kept is None:
            if len(self.traces) >= MOST_NAMES:
                return
            kept = self.traces[kind, recording.name] = []
        self._number += 1
        if len(kept) < KEPT:
            heappush(kept, (seconds, self._number, recording))
        elif seconds > kept[0][0]:
            heapreplace(kept, (seconds, self._number, recording))
