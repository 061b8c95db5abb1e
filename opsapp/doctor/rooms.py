"""Checks of what is opsapp's own: tables, audit, accounts, mail, jobs and profiles."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import sqlalchemy as sa

from .. import clock, text
from ..audit import verification
from ..database import status
from ..errors import NotReady
from ..extensions import db, this_app
from ..jobs import alerts, health, schedule
from ..mail import outbox, smtputf8
from ..models import AuditEvent, AuditHead, Grant
from ..models.types import Tolerant
from ..profiling.reports import retention
from ..settings import config, get
from ..unit import invariants, pending
from ..unit.ledger import read_head, refuse_other_owner
from ..values.damage import Damaged
from .findings import Check, Finding, finding

COMPARED = 100_000
"""The most events with which the tables are compared, which takes some seconds."""
GRANTS_LATE = timedelta(minutes=10)
MAIL_LATE = timedelta(hours=1)
SEALING_LATE = timedelta(minutes=5)
PROFILES_LATE = timedelta(days=2)
SCANNED = 1000
"""Rows of a table in which damaged values are looked for, the newest ones."""


def _check_writing() -> Finding:
    status.check_writable()
    return finding("writing", "ok", "the database is writable")


def _check_migrations() -> Finding:
    status.check_revision()
    return finding("migrations", "ok", f"at {status.revision()}")


def _check_environment() -> Finding:
    stamped = db.ours.scalar(sa.select(AuditHead.environment))
    name = config.environment()
    if stamped == name:
        return finding("environment", "ok", name)
    return finding(
        "environment",
        "fail",
        f"OPSAPP_ENV is {name}, the database is stamped {stamped}",
        "set OPSAPP_ENV, or connect to the other database",
    )


def _check_administrator() -> Finding:
    has_one = invariants.has_administrator(db.session())
    if has_one is None:
        message = "no administrator role is known, so the last administrator is not protected"
        return finding("administrator", "ok", message, "flask ops identity")
    if has_one:
        return finding("administrator", "ok", "an administrator can sign in")
    return finding(
        "administrator",
        "fail",
        "no active, confirmed account with a password holds admin permanently",
        "flask users create-admin EMAIL",
    )


def _check_grants() -> Finding:
    # The sweep marks them every five minutes; until then there is nothing to do.
    late = clock.now() - GRANTS_LATE
    over = (Grant.ended_at.is_(None), Grant.valid_until <= late)
    count = db.ours.scalar(sa.select(sa.func.count()).select_from(Grant).where(*over))
    if not count:
        return finding("grants", "ok", "no expired grant is left to mark")
    message = f"{text.pluralize(count, 'expired grant')} not marked yet"
    return finding("grants", "warn", message, "flask roles expire")


def _check_audit() -> Finding:
    head = read_head(db.ours())
    if head is None:
        return finding("audit", "fail", "the audit log has no head", "flask audit verify")
    refuse_other_owner(head)
    last = db.ours.scalar(sa.select(sa.func.max(AuditEvent.seq))) or 0
    if last != head.seq:
        message = f"the head says {text.pluralize(head.seq, 'event')}, the last one is {last}"
        return finding("audit", "fail", message, "flask audit verify")
    if not verification.is_genuine(head.seq, head.hash):
        return finding("audit", "fail", f"event {head.seq} was edited", "flask audit verify")
    count, since = pending.waiting(db.ours())
    if since is not None and clock.now() - since > SEALING_LATE:
        changes = text.pluralize(count, "change")
        message = f"{changes} not chained, the oldest since {clock.rfc3339(since)}"
        return finding("audit", "warn", message, "flask audit seal")
    if head.seq > COMPARED:
        message = f"{head.seq:,} events, the last one is genuine; the job checkpoint compares all"
        return finding("audit", "ok", message)
    report = verification.verify(state=True)
    if not report["ok"]:
        return finding("audit", "fail", report["says"], "flask audit verify --state")
    return finding("audit", "ok", f"{text.pluralize(head.seq, 'event')}; {report['says']}")


def _check_values() -> Finding:
    present = set(sa.inspect(db.our_engine).get_table_names())
    tables = [table for table in db.metadata.sorted_tables if table.name in present]
    damaged = [value for table in tables for value in _find_damage(table)]
    if not damaged:
        return finding("values", "ok", f"no damaged value in the newest {SCANNED} rows of a table")
    message = f"damaged: {text.join_some(damaged)}"
    return finding("values", "fail", message, "write them again, or restore a backup")


def _find_damage(table: sa.Table) -> Iterator[str]:
    """Yield the values of a table's newest rows that cannot be read, by row and column."""
    columns = [column for column in table.columns if isinstance(column.type, Tolerant)]
    keys = list(table.primary_key.columns)
    if not columns or not keys:
        return
    newest = sa.select(*keys, *columns).order_by(*(key.desc() for key in keys)).limit(SCANNED)
    for row in db.ours.execute(newest, execution_options={"yield_per": 100}):
        key = ",".join(str(value) for value in row[: len(keys)])
        for column, value in zip(columns, row[len(keys) :], strict=True):
            if isinstance(value, Damaged):
                yield f"{table.name} {text.safe(key)} {column.name}"


def _check_mail() -> Finding:
    count, since, _due = outbox.count_waiting()
    if not outbox.is_configured():
        state = "fail" if count else "warn"
        message = f"MAIL_SERVER is not set; {outbox.in_words(count)}"
        return finding("mail", state, message, "set MAIL_SERVER, then flask mail send-pending")
    if error := smtputf8.error_of_sender(this_app()):
        return finding("mail", "fail", error, "set MAIL_DEFAULT_SENDER")
    if failed := outbox.last_failure():
        message = f"{outbox.in_words(count)}; the server: {failed}"
        return finding("mail", "warn", message, "check MAIL_*")
    if since is not None and clock.now() - since > MAIL_LATE:
        message = f"{outbox.in_words(count)}, the oldest since {clock.rfc3339(since)}"
        return finding("mail", "warn", message, "flask mail send-pending every few minutes")
    return finding("mail", "ok", outbox.in_words(count))


def _check_jobs() -> Finding:
    rows = health.check()
    bad = [row for row in rows if row["state"] != "ok"]
    if bad:
        message = f"{len(bad)} of {len(rows)}: {bad[0]['job']} {bad[0]['says']}"
        return finding("jobs", "warn", message, "flask jobs check")
    return finding("jobs", "ok", f"none of {len(rows)} is failing or late")


def _check_alerts() -> Finding:
    try:
        schedule.load()
    except NotReady:
        return finding("alerts", "warn", "not checked: the jobs cannot be read", "mend the jobs")
    if error := alerts.error_of_addresses(this_app()):
        return finding("alerts", "fail", error, "name another address")
    return finding("alerts", "ok", "no address that the mail server cannot deliver to")


def _check_profiles() -> Finding:
    oldest = retention.oldest_minute()
    if oldest is not None and clock.now() - oldest > PROFILES_LATE:
        message = f"not compacted since {clock.rfc3339(oldest)}: the tables grow, reports get slow"
        return finding("profiles", "warn", message, "run the job prune-profiles every few minutes")
    if not get("OPSAPP_PROFILING"):
        return finding("profiles", "ok", "OPSAPP_PROFILING is off: nothing is recorded")
    return finding("profiles", "ok", "recorded, and compacted in time")


CHECKS: dict[str, Check] = {
    "migrations": _check_migrations,
    "writing": _check_writing,
    "environment": _check_environment,
    "administrator": _check_administrator,
    "grants": _check_grants,
    "audit": _check_audit,
    "values": _check_values,
    "mail": _check_mail,
    "jobs": _check_jobs,
    "alerts": _check_alerts,
    "profiles": _check_profiles,
}
OF_ACCOUNTS = frozenset({"grants"})
"""Those of accounts that are opsapp's."""
