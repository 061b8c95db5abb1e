"""An import: rows of a file in batches, each of which is a unit of work.

A batch is applied whole or not at all, and its audit event names the file and the last row.
So an import that was killed goes on behind that row when it is run again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ... import settings
from ...errors import NotReady, OpsError
from ...extensions import db
from ...types import Record as Answer
from ...unit.ledger import Recorded
from ...unit.work import Unit
from . import batches, comparison, hashing, rejects
from .fields import Reject, Row, parse
from .records import Columns, Record, records_of
from .sources import Source, validate_encoding

BATCH = 5000
"""Rows of a unit of work; other units wait for so long."""
BATCH_TO_HASH = 200
"""The same where each row takes a tenth of a second before the gate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The way in which rows become accounts."""

    format: str | None = None
    encoding: str = "utf-8"
    mapping: Mapping[str, str] = field(default_factory=dict)
    """Our columns by those of the file; an empty one leaves a column out."""
    on_conflict: str = "fail"
    """``fail``, ``skip`` or ``update`` an account that is there and differs."""
    on_error: str = "stop"
    """``stop`` at a batch with a bad row, or ``skip`` such rows."""
    hash_passwords: bool = False
    invite: bool = False
    again: bool = False
    """Import a file anew that was imported to its end."""
    check: bool = False
    """Only look for bad rows."""
    rejects: str | None = None
    """The file for the rows that are not imported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The functions that hear of an import while it runs."""

    problem: Callable[[Reject], None]
    progress: Callable[[int, float], None]
    """Gets the rows that were read, and how much of the file they are, from 0 to 1."""
    resumed: Callable[[int], None]
    """Gets the row behind which the import goes on."""


def import_file(file: str, options: Options, *, report: Report, unit: Unit) -> Answer:
    """Import the accounts of a file; return the number of rows by what became of them.

    :param file: its name; ``-`` is stdin.
    :raises Invalid: the file cannot be read; or a row is bad, and ``on_error`` is ``stop``.
    :raises Conflict: an account differs from its row, and ``on_conflict`` is ``fail``.
    :raises Busy: another process is importing the same file.
    """
    columns = Columns(options.mapping)
    if options.invite:
        _refuse_without_mail()
    encoding = validate_encoding(options.encoding)
    with ExitStack() as stack:
        source = stack.enter_context(Source(file, format=options.format, encoding=encoding))
        header, records = records_of(source, columns)
        keys = stack.enter_context(closing(comparison.Seen()))
        keep = None
        if options.rejects is not None:
            keep = stack.enter_context(rejects.writing(options.rejects, source, header, columns))
        run = _Run(source, options, report, unit, keys, keep)
        error = run.over(records)
    # Raised behind the files, which are in their place now.
    if error is not None:
        raise error
    return run.answer()


def _refuse_without_mail() -> None:
    if not settings.get("OPSAPP_NOTICES"):
        raise NotReady("--invite writes mail, and OPSAPP_NOTICES is off")
    if not settings.get("OPSAPP_URL"):
        raise NotReady("--invite needs OPSAPP_URL, with which the links of the mail begin")


class _Run:
    """An import under way."""

    def __init__(
        self,
        source: Source,
        options: Options,
        report: Report,
        unit: Unit,
        keys: comparison.Seen,
        keep: rejects.Writer | None,
    ) -> None:
        self._source, self._options, self._report, self._unit = source, options, report, unit
        self._seen, self._keep = keys, keep
        self._counts = dict.fromkeys(
            ("rows", "created", "updated", "unchanged", "skipped", "rejected"), 0
        )
        self._planned: list[Recorded] = []
        self._has_changed = False
        self._position = batches.Position("")
        self._resumed: int | None = None

    def over(self, records: Iterable[Record]) -> BaseException | None:
        """Import the records; return the error that stopped it.

        One that has no bad rows behind it is raised, and the file of rejects stays as it was.
        """
        try:
            return self._over(records)
        except (OpsError, KeyboardInterrupt, SystemExit) as error:
            if not self._counts["rejected"]:
                raise
            return error

    def _over(self, records: Iterable[Record]) -> OpsError | None:
        if not self._options.check:
            self._find_position()
        refusal = None
        for batch, is_last in self._batches(records):
            self._counts["rows"] += len(batch)
            error = self._take(batch, is_last)
            if error is not None and not self._options.check:
                return error
            refusal = refusal or error
            self._show(self._counts["rows"])
        if self._unit.dry_run:
            self._unit.recorded = self._planned
        return refusal

    def answer(self) -> Answer:
        """Return the answer of the command."""
        changed = self._has_changed and not self._unit.dry_run
        return {"changed": changed, **self._counts, "resumed_after": self._resumed}

    def _find_position(self) -> None:
        subject = f"import:{_identity(self._source, self._options)[:32]}"
        position = batches.read_position(self._unit, subject)
        db.session.rollback()
        if position.done and self._options.again:
            position.row, position.done = 0, False
        self._position = position
        if position.row:
            self._resumed = position.row
            if not position.done:
                self._report.resumed(position.row)

    def _batches(self, records: Iterable[Record]) -> Iterator[tuple[list[Record], bool]]:
        """Yield the rows in batches, and whether each is the last; one ends at the position."""
        size = BATCH_TO_HASH if self._options.hash_passwords else BATCH
        rows, number = iter(records), 0
        first = list(islice(rows, 1))
        while first:
            before = self._position.row - number
            batch = [*first, *islice(rows, (min(size, before) if before > 0 else size) - 1)]
            number += len(batch)
            first = list(islice(rows, 1))
            yield batch, not first

    def _take(self, batch: list[Record], is_last: bool) -> OpsError | None:
        parsed = [parse(r, hash_passwords=self._options.hash_passwords) for r in batch]
        rows = [row for row in parsed if isinstance(row, Row)]
        bad = [reject for reject in parsed if isinstance(reject, Reject)]
        rows, repeated = self._seen.take(rows)
        bad += repeated
        if batch[-1].number <= self._position.row:
            self._pass_over(rows, bad)
            return None
        check = self._options.check
        if check or not (bad and self._stops):
            before = self._counts["rows"] - len(batch)
            reasons = hashing.hash_all(
                rows, check=check, progress=lambda count: self._show(before + count)
            )
            rows, rejected = _without(rows, reasons)
            bad += rejected
        return self._check(rows, bad) if check else self._apply(rows, bad, batch, is_last)

    def _show(self, count: int) -> None:
        share = count / self._counts["rows"]
        self._report.progress(count, share * self._source.fraction())

    @property
    def _stops(self) -> bool:
        return self._options.on_error == "stop"

    def _pass_over(self, rows: list[Row], bad: list[Reject]) -> None:
        """Report the bad rows of a batch that was applied before, and do nothing else."""
        if not self._stops:
            rows, rejected = _without(rows, hashing.policy_reasons(rows))
            self._examine(rows, [*bad, *rejected])

    def _check(self, rows: list[Row], bad: list[Reject]) -> OpsError | None:
        """Look at a batch; return the error by which its updates would be refused."""
        verdict = self._examine(rows, bad)
        self._count(verdict)
        if not verdict.updates:
            return None
        by = self._unit
        trial = Unit(
            actor=by.actor, door=by.door, powers=by.powers, standing=by.standing, dry_run=True
        )
        try:
            with trial:
                again = comparison.judge([row for _id, row in verdict.updates], "update")
                batches.write(again, {}, subject=self._position.subject, invite=False, unit=trial)
        except OpsError as error:
            return error
        return None

    def _examine(self, rows: list[Row], bad: list[Reject]) -> comparison.Verdict:
        verdict = comparison.judge(rows, self._options.on_conflict)
        db.session.rollback()
        self._reject([*bad, *verdict.rejects])
        return verdict

    def _apply(
        self, rows: list[Row], bad: list[Reject], batch: list[Record], is_last: bool
    ) -> OpsError | None:
        unit, position = self._unit, self._position
        try:
            with unit:
                batches.refuse_other_process(unit, position)
                self._source.refuse_change()
                verdict, bad = self._judge(rows, bad)
                changes = bool(verdict.creates or verdict.updates)
                if changes or (is_last and position.seq is not None):
                    place = self._place(batch, is_last, len(bad), verdict)
                    subject, invite = position.subject, self._options.invite
                    batches.write(verdict, place, subject=subject, invite=invite, unit=unit)
                    self._planned += unit.recorded if unit.dry_run else []
        except _BadRowsError as error:
            first, *others = sorted(error.rejects, key=_number)
            self._reject(others)
            if self._keep is not None:
                self._keep(first)
            return _stop_error(self._source, first, len(others), batch)
        if unit.committed:
            position.seq, position.row = unit.seq, batch[-1].number
            self._has_changed = True
        self._count(verdict)
        self._reject(bad)
        return None

    def _judge(self, rows: list[Row], bad: list[Reject]) -> tuple[comparison.Verdict, list[Reject]]:
        """Return the consequence of the rows, and all the bad ones.

        :raises _BadRowsError: there are some, and the import stops at them.
        """
        verdict = comparison.judge(rows, self._options.on_conflict)
        bad = [*bad, *verdict.rejects]
        if bad and self._stops:
            raise _BadRowsError(bad)
        return verdict, bad

    def _place(
        self, batch: list[Record], is_last: bool, rejected: int, verdict: comparison.Verdict
    ) -> dict[str, Any]:
        return {
            "file": self._source.digest,
            "name": self._source.name,
            "first": batch[0].number,
            "last": batch[-1].number,
            "done": is_last,
            "unchanged": verdict.unchanged + verdict.skipped,
            "rejected": rejected,
        }

    def _count(self, verdict: comparison.Verdict) -> None:
        self._counts["created"] += len(verdict.creates)
        self._counts["updated"] += len(verdict.updates)
        self._counts["unchanged"] += verdict.unchanged
        self._counts["skipped"] += verdict.skipped

    def _reject(self, bad: list[Reject]) -> None:
        self._counts["rejected"] += len(bad)
        for reject in sorted(bad, key=_number):
            self._report.problem(reject)
            if self._keep is not None:
                self._keep(reject)


def _without(rows: list[Row], reasons: Mapping[int, str]) -> tuple[list[Row], list[Reject]]:
    """Return the rows whose password is not refused, and rejects of the others."""
    bad = [Reject(rows[index].record, "password", why) for index, why in reasons.items()]
    return [row for index, row in enumerate(rows) if index not in reasons], bad


class _BadRowsError(Exception):
    """Bad rows of a batch, for which its unit is undone."""

    def __init__(self, rejects: list[Reject]) -> None:
        super().__init__()
        self.rejects = rejects


def _number(reject: Reject) -> int:
    return reject.record.number


def _stop_error(source: Source, first: Reject, others: int, batch: list[Record]) -> OpsError:
    more = f", and {others} more" if others else ""
    before = batch[0].number - 1
    where = f"the rows before row {before + 1:,} are imported" if before else "no row is imported"
    return first.kind(
        f"{source.name} {str(first).removesuffix('.')}{more}; {where}",
        hint="--check finds every bad row; --on-error skip leaves them out",
    )


def _identity(source: Source, options: Options) -> str:
    """Return the digest of a file and of all that decides what its rows say."""
    meaning = [source.digest, source.format, source.encoding, options.on_conflict]
    words = json.dumps([*meaning, dict(options.mapping)], sort_keys=True)
    return hashlib.sha256(words.encode(errors="surrogateescape")).hexdigest()
