"""Aggregates of recordings by the minute, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from heapq import heappush, heapreplace
from threading import Lock

from ...engine.fingerprint import fingerprint
from ...models.profiles import MINUTE
from .. import ddsketch
from .callers import Place, Statement
from .recording import Recording, Sent, has_failed

MOST_NAMES = 1000
MOST_STATEMENTS = 5000
OTHER = "(other)"
"""The name for all others, once there are too many names."""
REPEATED = 5
"""The least count of one statement at one line in a request that makes it a repeat."""
ASIDE = 512
"""The number of durations to sort into buckets at once."""
KEPT = 5
"""The most traces of each kind of an endpoint."""

Key = tuple[str, str, Place | None, int, str]
"""Kind, name (or statement), function, instruction, and the statement of a repeat, or the
endpoint of a statement."""
OfEndpoint = tuple[str, str, Place | None, int]
"""Name, statement, function and instruction."""


class Aggregate:
    """The sum of many recordings, as :class:`~opsapp.models.ProfileWindow` keeps it.

    Durations are sorted into buckets many at a time. One at a time would be most of the
    cost of recording.
    """

    __slots__ = (
        "aside", "bins", "errors", "folded", "most", "queries", "query_seconds", "seconds",
        "source", "stored",
    )  # fmt: skip

    def __init__(self) -> None:
        self.aside: list[float] = []
        self.bins: ddsketch.Bins = {}
        self.folded = self.errors = self.queries = self.stored = 0
        self.seconds = self.most = self.query_seconds = 0.0
        self.source: Aggregate | None = None

    @property
    def count(self) -> int:
        """Return the number of durations."""
        return self.folded + len(self.aside)

    def fold(self) -> None:
        """Sort the waiting durations into their buckets."""
        aside, self.aside = self.aside, []
        if aside:
            self.folded += len(aside)
            self.seconds += sum(aside)
            self.most = max(self.most, *aside)
            ddsketch.add(self.bins, ddsketch.of(aside))

    def copy(self) -> Aggregate:
        """Return a copy that knows its source."""
        self.fold()
        twin = Aggregate()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.aside, twin.bins, twin.source = [], self.bins.copy(), self
        return twin


class Minute:
    """All recordings that ended in one minute."""

    def __init__(self, starts_at: int) -> None:
        self.starts_at = starts_at
        self.names: dict[tuple[str, str], Aggregate] = {}
        self.statements: dict[OfEndpoint, Aggregate] = {}
        self.repeats: dict[OfEndpoint, Aggregate] = {}

    def aggregate_of(self, name: tuple[str, str]) -> Aggregate:
        """Return the aggregate of an endpoint or command, or of all others beyond the limit."""
        if len(self.names) >= MOST_NAMES:
            name = (name[0], OTHER)
        return self.names.setdefault(name, Aggregate())

    def statement_of(self, key: OfEndpoint) -> Aggregate:
        """Return the aggregate of a statement at a line, or of all others beyond the limit."""
        if len(self.statements) >= MOST_STATEMENTS:
            key = (OTHER, OTHER, None, 0)
        return self.statements.setdefault(key, Aggregate())

    def snapshot(self) -> list[tuple[Key, Aggregate]]:
        """Return copies of all aggregates; none if nothing has changed since the last write."""
        if not any(aggregate.count != aggregate.stored for aggregate in self._all()):
            return []
        copies: list[tuple[Key, Aggregate]] = []
        for (kind, name), aggregate in self.names.items():
            copies.append(((kind, name, None, 0, ""), aggregate.copy()))
        for (name, statement, place, at), aggregate in self.statements.items():
            copies.append((("query", statement, place, at, name), aggregate.copy()))
        for (name, statement, place, at), aggregate in self.repeats.items():
            copies.append((("repeat", name, place, at, statement), aggregate.copy()))
        return copies

    def _all(self) -> Iterator[Aggregate]:
        yield from self.names.values()
        yield from self.statements.values()
        yield from self.repeats.values()

    def mark_stored(self, snapshot: list[tuple[Key, Aggregate]]) -> None:
        """Note that the database has the counts of the snapshot; there may be more by now."""
        for _key, then in snapshot:
            if then.source is not None:
                then.source.stored = then.count


class Aggregates:
    """The minutes that are not written yet, and the requests worth a trace.

    A request spends about ten microseconds here, under one lock.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.running: dict[int, Recording] = {}
        """The recordings that have not ended, by id, for the sampler."""
        self.minutes: dict[int, Minute] = {}
        self.traces: dict[tuple[str, str], list[tuple[float, int, Recording]]] = {}
        self.floors: dict[str, float] = {}
        """The seconds above which a request of an endpoint is worth a trace."""
        self._number = 0

    def add(self, recording: Recording, now: float) -> None:
        """Count a recording that has ended.

        :param now: seconds since 1970.
        """
        recording.ended = now
        starts_at = int(now) // MINUTE * MINUTE
        failed = has_failed(recording.kind, recording.status)
        times = _by_statement(recording.sent)
        repeats = list(_repeats(times)) if len(recording.sent) >= REPEATED else []
        with self.lock:
            if recording.is_profiled:
                # docs/decisions/profiling.md#profiled-requests-are-not-in-the-reports
                if recording.profile_detail:
                    self._consider(recording, failed=False)
                return
            minute = self.minutes.get(starts_at)
            if minute is None:
                minute = self.minutes[starts_at] = Minute(starts_at)
            name = (recording.kind, recording.name)
            aggregate = minute.names.get(name) or minute.aggregate_of(name)
            aggregate.aside.append(recording.seconds)
            if len(aggregate.aside) >= ASIDE:
                aggregate.fold()
            aggregate.queries += recording.queries or len(recording.sent)
            aggregate.query_seconds += self._add_statements(minute, times, recording.name)
            for statement, durations in repeats:
                self._add_repeat(minute, (recording.name, *statement), durations)
            if failed:
                aggregate.errors += 1
            if (
                failed
                or recording.profile_detail is not None
                or recording.seconds > self.floors.get(recording.name, 0.0)
            ):
                self._consider(recording, failed)

    def profiles(self) -> dict[tuple[str, str], list[tuple[float, int, Recording]]]:
        """Return the traces that were profiled on request, by their kind and name."""
        return {key: traces for key, traces in self.traces.items() if key[0] == "asked"}

    def _add_statements(self, minute: Minute, times: Times, name: str) -> float:
        """Count each statement, and return the seconds of all together."""
        statements = minute.statements
        seconds = 0.0
        for statement, durations in times.items():
            key = (name, *statement)
            aggregate = statements.get(key) or minute.statement_of(key)
            seconds += sum(durations)
            aggregate.aside += durations
            if len(aggregate.aside) >= ASIDE:
                aggregate.fold()
        return seconds

    def _add_repeat(self, minute: Minute, key: OfEndpoint, durations: list[float]) -> None:
        aggregate = minute.repeats.get(key)
        if aggregate is None:
            if len(minute.repeats) >= MOST_NAMES:
                return
            aggregate = minute.repeats[key] = Aggregate()
        seconds = sum(durations)
        aggregate.aside.append(seconds)
        aggregate.queries += len(durations)
        aggregate.query_seconds += seconds

    def _consider(self, recording: Recording, failed: bool) -> None:
        """Keep the recording if it is one of the slowest of its name, failed, or was asked for."""
        kind = "asked" if recording.profile_detail else "error" if failed else "slow"
        traces = self.traces.get((kind, recording.name))
        if traces is None:
            if len(self.traces) >= MOST_NAMES:
                return
            traces = self.traces[kind, recording.name] = []
        self._number += 1
        item = (recording.seconds, self._number, recording)
        if len(traces) < KEPT:
            heappush(traces, item)
        elif item > traces[0]:
            heapreplace(traces, item)


Times = dict[Statement, list[float]]
"""The seconds of each time that a statement was sent."""


def _by_statement(statements: list[Sent]) -> Times:
    times: Times = {}
    for statement, _at, seconds in statements:
        # setdefault() would create a list for each statement.
        durations = times.get(statement)
        if durations is None:
            times[statement] = [seconds]
        else:
            durations.append(seconds)
    return times


def _repeats(times: Times) -> Iterator[tuple[Statement, list[float]]]:
    """Yield each statement that a line sends often, with its times.

    Statements of a line that differ in their literals are one, under the text of the first.
    """
    lines: dict[tuple[Place | None, int], list[Statement]] = {}
    for statement in times:
        lines.setdefault(statement[1:], []).append(statement)
    for statements in lines.values():
        if sum(len(times[statement]) for statement in statements) < REPEATED:
            continue
        for alike in [statements] if len(statements) == 1 else _group_alike(statements):
            durations = [seconds for statement in alike for seconds in times[statement]]
            if len(durations) >= REPEATED:
                yield alike[0], durations


def _group_alike(statements: list[Statement]) -> Iterable[list[Statement]]:
    groups: dict[str, list[Statement]] = {}
    for statement in statements:
        groups.setdefault(_shape(statement[0]), []).append(statement)
    return groups.values()


_shape = lru_cache(maxsize=MOST_STATEMENTS)(fingerprint)
