"""Saved measurements, and the changes between two of them.

See docs/decisions/profiling.md#differences-are-resampled and #measurements-are-not-audited.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

import sqlalchemy as sa

from ... import clock, text
from ...actors import Actor
from ...errors import Conflict, Invalid, NotFound, OpsError, Refused
from ...extensions import db
from ...models import ProfileSave
from ...settings import config
from ...types import Record
from ...unit.work import bookkeeping
from ...values.damage import Damaged
from . import statistics

MODES = ("request", "run")
METRICS = (*statistics.TIMES, *statistics.COUNTS)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_RULE = re.compile(r"(?P<metric>[a-z0-9]+)\s*>\s*\+?(?P<limit>\d+(?:\.\d+)?)\s*(?P<percent>%?)")


# --- saving ------------------------------------------------------------------


def save(
    mode: str,
    subject: str,
    detail: Record,
    *,
    name: str | None,
    replace: bool = False,
    actor: Actor,
) -> Record:
    """Save a measurement.

    :param name: None makes a name up, and pruning may remove the measurement.
    :raises Conflict: the name is taken, and ``replace`` is false.
    :raises Invalid: that is no name.
    """
    if name is not None:
        name = _clean(name)
    with bookkeeping() as session:
        if name is not None:
            namesake = session.scalar(sa.select(ProfileSave).where(ProfileSave.name == name))
            if namesake is not None and not replace:
                raise Conflict(f"there is a measurement {name}", hint="--replace, or another name")
            if namesake is not None:
                session.delete(namesake)
                session.flush()
        measurement = ProfileSave(
            name=name or f"-{clock.now():%Y%m%dT%H%M%S.%f}",
            is_automatic=name is None,
            mode=mode,
            subject=subject,
            python=platform.python_version(),
            environment=config.environment(),
            made_at=clock.now(),
            made_by=actor.label(),
            detail=detail,
        )
        session.add(measurement)
        session.flush()
        if name is None:
            measurement.name = f"{mode}-{measurement.id}"
            session.flush()
        return record(measurement)


def _clean(name: str) -> str:
    if not _NAME.fullmatch(name) or re.fullmatch(rf"(?:{'|'.join(MODES)})-\d+", name):
        raise Invalid(
            f"{text.truncate(name)} is not a name: letters, digits, '.', '_' and '-',"
            " and not like a name that is made up"
        )
    return name


def record(baseline: ProfileSave) -> Record:
    """Return a saved measurement as a line of a list."""
    return {
        "name": baseline.name,
        "mode": baseline.mode,
        "subject": baseline.subject,
        "made_at": baseline.made_at,
        "made_by": baseline.made_by,
        "python": baseline.python,
        "environment": baseline.environment,
    }


def listing() -> list[Record]:
    """Return the saved measurements, the newest first."""
    newest = sa.select(ProfileSave).order_by(ProfileSave.id.desc())
    return [record(baseline) for baseline in db.ours.scalars(newest)]


def get(name: str) -> ProfileSave:
    """Return the measurement of this name.

    :raises NotFound: there is none.
    :raises OpsError: it is damaged.
    """
    measurement = db.ours.scalar(sa.select(ProfileSave).where(ProfileSave.name == name))
    if measurement is None:
        message = f"no saved measurement {text.truncate(name)}"
        raise NotFound(message, hint="flask profile saved")
    if isinstance(measurement.detail, Damaged):
        raise OpsError(
            f"the measurement {text.safe(measurement.name)} cannot be read: {measurement.detail}"
        )
    return measurement


def newest_like(base: ProfileSave) -> ProfileSave:
    """Return the newest measurement of the same mode and subject.

    :raises NotFound: none was saved after ``base``.
    """
    alike = (ProfileSave.mode == base.mode, ProfileSave.subject == base.subject)
    query = sa.select(ProfileSave).where(*alike, ProfileSave.id > base.id)
    newest = db.ours.scalar(query.order_by(ProfileSave.id.desc()).limit(1))
    if newest is None:
        raise NotFound(f"nothing comparable to {base.name} was saved after it")
    return get(newest.name)


# --- comparing ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rule:
    """A limit such as ``p95>+10%``; a change beyond it is a finding."""

    metric: str
    limit: float
    is_share: bool

    @classmethod
    def parse(cls, words: str) -> Rule:
        """Return the rule of these words.

        :raises Invalid: they are no rule, or the metric is unknown.
        """
        match = _RULE.fullmatch(words.strip())
        if match is None or match["metric"] not in METRICS:
            metrics = ", ".join(METRICS)
            raise Invalid(f"{words!r} is not a rule such as 'p95>+10%' of one of {metrics}")
        limit, is_share = float(match["limit"]), bool(match["percent"])
        return cls(match["metric"], limit / 100 if is_share else limit, is_share)

    def is_broken(self, change: Record) -> bool:
        """Tell whether this change is for the worse, and beyond the limit."""
        if change["metric"] != self.metric or change["verdict"] != "worse":
            return False
        before, after = change["before"], change["after"]
        if self.is_share:
            return (bool(before) and after / before - 1 > self.limit) or (not before and after > 0)
        return bool(after - before > self.limit)


def compare(base: ProfileSave, new: ProfileSave, rules: list[Rule]) -> tuple[list[Record], bool]:
    """Return the changes from ``base`` to ``new``, and whether one of them breaks a rule.

    :raises Refused: the mode, the subject or Python differs, or there are too few samples.
    """
    _refuse_unlike(base, new)
    before, after = (_samples_of(save) for save in (base, new))
    changes = list(statistics.changes(base.subject, before, after))
    for change in changes:
        change["failed"] = any(rule.is_broken(change) for rule in rules)
    return changes, any(change["failed"] for change in changes)


def _samples_of(save: ProfileSave) -> Record:
    row: Record = save.detail["rows"].get(save.subject, {})
    count = len(row.get("samples", ()))
    if count < statistics.LEAST:
        raise Refused(
            f"{save.name} has {text.pluralize(count, 'sample')},"
            f" and a comparison needs {statistics.LEAST}",
            hint=f"measure again with --repeat {statistics.LEAST} or more",
        )
    return row


def _refuse_unlike(base: ProfileSave, new: ProfileSave) -> None:
    first, second = (
        {"python": _minor_version(save.python), "mode": save.mode, "subject": save.subject}
        for save in (base, new)
    )
    for name, value in first.items():
        if second[name] != value:
            raise Refused(
                f"{base.name} and {new.name} cannot be compared:"
                f" their {name} is {text.truncate(value)} and {text.truncate(second[name])}"
            )


def _minor_version(version: str) -> str:
    return ".".join(version.split(".")[:2])


def figures(samples: list[float]) -> Record:
    """Return the exact percentiles of durations in seconds, in milliseconds."""
    ordered = sorted(samples)
    percentiles: Record = {
        f"{name}_ms": round(statistics.quantile(ordered, share) * 1000, 3)
        for name, share in statistics.SHARES.items()
    }
    return {
        **percentiles,
        "min_ms": round(ordered[0] * 1000, 3),
        "max_ms": round(ordered[-1] * 1000, 3),
        "mean_ms": round(sum(ordered) / len(ordered) * 1000, 3),
    }
