"""What was recorded, added up by the minute, in a bounded piece of memory."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappush, heapreplace
from threading import Lock

from ...models.profiles import MINUTE
from .. import ddsketch
from .callers import Place, Statement
from .recording import Recording, Sent, has_failed

MOST_NAMES = 1000
MOST_STATEMENTS = 5000
OTHER = "(other)"
"""What is counted together once there are too many."""
REPEATED = 5
"""So often one line sends one statement in a request, and it is a repeat."""
ASIDE = 512
"""Durations that wait to be sorted into buckets."""
KEPT = 5
"""Traces of each kind that an endpoint has at most."""

Key = tuple[str, str, Place | None, int, str]
"""Kind, name (or statement), function, instruction, and the statement of a repeat."""
Repeat = tuple[str, str, Place | None, int]
"""Name, statement, function and instruction."""


class Aggregate:
    """The sum of many recordings, as :class:`~opsapp.models.ProfileWindow` keeps it.

    Durations are put aside and sorted into buckets many at a time: one by one that would
    be most of what recording costs.
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
        """How many there were."""
        return self.folded + len(self.aside)

    def fold(self) -> None:
        """Sort what was put aside into its buckets."""
        aside, self.aside = self.aside, []
        if aside:
            self.folded += len(aside)
            self.seconds += sum(aside)
            self.most = max(self.most, *aside)
            ddsketch.add(self.bins, ddsketch.of(aside))

    def copy(self) -> Aggregate:
        """As it is now, and whose copy it is."""
        self.fold()
        twin = Aggregate()
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.aside, twin.bins, twin.source = [], self.bins.copy(), self
        return twin


class Minute:
    """Everything that ended in one minute."""

    def __init__(self, starts_at: int) -> None:
        self.starts_at = starts_at
        self.names: dict[tuple[str, str], Aggregate] = {}
        self.statements: dict[Statement, Aggregate] = {}
        self.repeats: dict[Repeat, Aggregate] = {}

    def aggregate_of(self, name: tuple[str, str]) -> Aggregate:
        """The aggregate of an endpoint or command, or of all others once there are too many."""
        if len(self.names) >= MOST_NAMES:
            name = (name[0], OTHER)
        return self.names.setdefault(name, Aggregate())

    def statement_of(self, key: Statement) -> Aggregate:
        """The aggregate of a statement at a line, or of all others once there are too many."""
        if len(self.statements) >= MOST_STATEMENTS:
            key = (OTHER, None, 0)
        return self.statements.setdefault(key, Aggregate())

    def snapshot(self) -> list[tuple[Key, Aggregate]]:
        """Copies of everything; empty if nothing has changed since it was written last."""
        if not any(aggregate.count != aggregate.stored for aggregate in self._all()):
            return []
        copies: list[tuple[Key, Aggregate]] = []
        for (kind, name), aggregate in self.names.items():
            copies.append(((kind, name, None, 0, ""), aggregate.copy()))
        for (statement, place, at), aggregate in self.statements.items():
            copies.append((("query", statement, place, at, ""), aggregate.copy()))
        for (name, statement, place, at), aggregate in self.repeats.items():
            copies.append((("repeat", name, place, at, statement), aggregate.copy()))
        return copies

    def _all(self) -> Iterator[Aggregate]:
        yield from self.names.values()
        yield from self.statements.values()
        yield from self.repeats.values()

    def mark_stored(self, snapshot: list[tuple[Key, Aggregate]]) -> None:
        """The database has what is in the snapshot; meanwhile there may be more."""
        for _key, then in snapshot:
            if then.source is not None:
                then.source.stored = then.count


class Aggregates:
    """The minutes that are not written yet, and the requests worth a trace.

    Each request takes some ten microseconds here, under one lock.
    """

    def __init__(self) -> None:
        self.lock = Lock()
        self.running: dict[int, Recording] = {}
        """By their ids, what has begun and not ended; the sampler looks through it."""
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
        starts_at = int(now) // MINUTE * MINUTE
        failed = has_failed(recording.kind, recording.status)
        with self.lock:
            if recording.is_looked_at:
                # Being looked at took most of its time, which says nothing about the endpoint.
                if recording.is_asked:
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
            sent = recording.sent
            if sent:
                aggregate.queries += recording.queries or len(sent)
                aggregate.query_seconds += self._add_statements(minute, sent, recording.name)
            if failed:
                aggregate.errors += 1
            if (
                failed
                or recording.is_asked is not None
                or recording.seconds > self.floors.get(recording.name, 0.0)
            ):
                self._consider(recording, failed)

    def profiles(self) -> dict[tuple[str, str], list[tuple[float, int, Recording]]]:
        """Return the traces that were profiled on request, by their kind and name."""
        return {key: traces for key, traces in self.traces.items() if key[0] == "asked"}

    def _add_statements(self, minute: Minute, sent: list[Sent], name: str) -> float:
        """Count each statement, and those that came again and again; how long all took together."""
        times: dict[Statement, list[float]] = {}
        for key, _at, seconds in sent:
            # One look each, where setdefault() would make a list each.
            durations = times.get(key)
            if durations is None:
                times[key] = [seconds]
            else:
                durations.append(seconds)
        statements = minute.statements
        whole = 0.0
        for key, durations in times.items():
            aggregate = statements.get(key) or minute.statement_of(key)
            together = sum(durations)
            whole += together
            aggregate.aside += durations
            if len(aggregate.aside) >= ASIDE:
                aggregate.fold()
            if len(durations) >= REPEATED:
                self._add_repeat(minute, (name, *key), len(durations), together)
        return whole

    def _add_repeat(self, minute: Minute, key: Repeat, count: int, seconds: float) -> None:
        aggregate = minute.repeats.get(key)
        if aggregate is None:
            if len(minute.repeats) >= MOST_NAMES:
                return
            aggregate = minute.repeats[key] = Aggregate()
        aggregate.aside.append(seconds)
        aggregate.queries += count
        aggregate.query_seconds += seconds

    def _consider(self, recording: Recording, failed: bool) -> None:
        """Keep the recording if it is among the slowest of its name, failed, or was asked for."""
        kind = "asked" if recording.is_asked else "error" if failed else "slow"
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
