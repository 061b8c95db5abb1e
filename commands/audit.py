"""`flask audit`: list, verify and export the audit log."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any

import click

from opsapp import clock
from opsapp.cli.base import OpsGroup, approve
from opsapp.cli.decorators import (
    answers,
    changes,
    findings,
    page_options,
    say_afterwards,
    say_what_follows,
    works,
)
from opsapp.cli.filters import event_filter
from opsapp.cli.options import SEQ, TEXT_FILE
from opsapp.cli.streams import style_text
from opsapp.cli.tables import hanging
from opsapp.errors import Invalid
from opsapp.types import Record

if TYPE_CHECKING:
    from opsapp.audit.events import Filter
    from opsapp.unit.work import Unit

SHOWN = ("seq", "at", "actor", "action", "subject_name", "before", "after", "reason")
EVENT = (
    "seq", "at", "actor", "door", "action", "subject", "subject_name", "reason", "before",
    "after", "correlation",
)  # fmt: skip
SESSION = (
    "id", "opened_at", "actor", "by", "mode", "state", "inputs", "ended", "ended_at", "reason",
)  # fmt: skip
EXPORTED = (
    "seq", "at", "actor", "door", "action", "subject", "reason", "before", "after", "correlation",
    "previous", "hash", "personal",
)  # fmt: skip
POLL_SECONDS = 1.0


@click.group(cls=OpsGroup)
def cli() -> None:
    """Read and verify the audit log.

    Every change to accounts, roles and the database is one event of a chain that
    cannot be edited unnoticed.
    """


def _line(event: Mapping[str, Any]) -> str:
    from opsapp.audit import lines

    when, words, reason = lines.line(event, clock.now())
    return hanging(f"{style_text(when, 'dim')}  {words}{style_text(reason, 'dim')}")


@cli.command("list")
@click.option("--before", type=SEQ, metavar="SEQ", help="Events older than this one.")
@click.option("--follow", is_flag=True, help="Print new events until Ctrl-C.")
@page_options()
@answers(*SHOWN, fields=EVENT, live="follow", noun="events", line=_line)
@event_filter
def list_cmd(
    filter: Filter, before: int | None, follow: bool, limit: int | None
) -> Iterable[Record]:
    """List the newest events, latest last.

    Like a log, it ends with the latest event: a line for each event on a terminal, with
    times in UTC. The filters may be combined. Changes by an application's own code have no
    number until they are chained.

    \b
    Examples:
      flask audit list --since monday --action user:role
      flask audit list --subject ada@example.com
      flask audit list --reason "on call" --since 7d
    """
    from opsapp.audit import events

    if follow and before is not None:
        raise Invalid("--follow and --before cannot be combined")
    if follow:
        return _follow(filter, limit)
    waiting = [] if before is not None else _list_waiting(filter, limit)
    if limit is None:
        return chain(events.events(filter, limit=None, before=before), waiting)
    rows = list(events.events(filter, limit=limit + 1, before=before))
    if len(rows) > limit:
        say_what_follows(f"--before {rows[1]['seq']}")
    return [*rows[-limit:], *waiting]


def _list_waiting(filter: Filter, limit: int | None) -> list[Record]:
    from opsapp.audit import events
    from opsapp.unit import intents

    rows = events.waiting(filter, limit=limit)
    if rows:
        group = click.get_current_context().parent
        command = "flask audit" if group is None else group.command_path
        say_afterwards(f"Those without a number wait to be chained: {command} seal")
    if seqs := events.unfinished_intents():
        say_afterwards(f"Intents of unknown outcome: {len(seqs)}; to close them: {intents.HINT}")
    return rows


def _follow(filter: Filter, limit: int | None) -> Iterator[Record]:
    from opsapp.audit import events

    last = None
    while True:
        new = events.events(filter, limit=limit) if last is None else events.since(last, filter)
        for event in new:
            last = event["seq"]
            yield event
        last = last or 0
        time.sleep(POLL_SECONDS)


@cli.command("show")
@click.argument("seq", type=SEQ)
@answers()
def show_cmd(seq: int) -> Record:
    """Show one event with all its fields.

    Names erased by `flask users delete` are shown as [erased].

    \b
    Example:
      flask audit show 1
    """
    from opsapp.audit import events

    return events.get(seq)


@cli.command("verify")
@click.option(
    "--checkpoint",
    type=TEXT_FILE,
    help="File with checkpoint lines; - is stdin.",
)
@click.option(
    "--state", is_flag=True, help="Also compare accounts, roles, grants and tokens with it."
)
@answers()
def verify_cmd(checkpoint: str | None, state: bool) -> Record:
    """Verify the whole chain of events.

    Exits 0 if it holds and 6 if not, with the first bad event and the kind of break.
    Only a checkpoint kept elsewhere shows that the newest events were cut off or an
    older copy was restored. Only --state shows that a table was edited by SQL: it
    replays the events and names each row that no event explains.

    \b
    Examples:
      flask audit verify --state
      flask audit verify --checkpoint /mnt/elsewhere/audit.checkpoints
    """
    from opsapp.audit import checkpoints, verification

    points = () if checkpoint is None else checkpoints.checkpoints(checkpoint.splitlines())
    report = verification.verify(points, state=state)
    findings(not report["ok"])
    return report


@cli.command("seal")
@works()
def seal_cmd(dry_run: bool) -> Record:
    """Add pending changes to the chain.

    An application's own code leaves its changes of accounts beside the chain, since a
    request takes no gate. Its server chains them within seconds, and so does each command
    that changes something.

    \b
    Example:
      flask audit seal
    """
    from opsapp.ops import seal

    return {"sealed": seal.count_waiting() if dry_run else seal.seal()}


@cli.command("settle")
@click.argument("seq", type=SEQ, required=False)
@click.option(
    "--as",
    "outcome",
    type=click.Choice(["done", "failed"]),
    help="The outcome, if comparing is inconclusive.",
)
@changes("intent", "at", "action", "subject", "outcome", key="intent")
def settle_cmd(seq: int | None, outcome: str | None, unit: Unit) -> list[Record]:
    """Resolve changes that a killed process left open.

    If the audit log has a database of its own, a process that is killed may leave a change
    without its event. The accounts are compared with the intent: a change that was made gets
    its event. Exits 6 if comparing does not tell, because the account was changed again;
    `flask audit show SEQ` shows the intent.

    \b
    Examples:
      flask audit settle --dry-run
      flask audit settle 12 --as done --reason "the role is held"
    """
    from opsapp.ops import settlement

    if outcome is not None and seq is None:
        raise Invalid("--as needs the number of an intent")
    rows = settlement.settle(seq, outcome=outcome, unit=unit)
    findings(any(row["outcome"] == settlement.UNKNOWN for row in rows))
    return rows


@cli.command("checkpoint")
@answers()
def checkpoint_cmd() -> str:
    """Print a signed checkpoint to keep elsewhere.

    `flask audit verify --checkpoint` finds by it whether anything before was cut off.

    \b
    Example:
      flask audit checkpoint >> /mnt/elsewhere/audit.checkpoints
    """
    from opsapp.audit import checkpoints

    return checkpoints.checkpoint()


@cli.command("export")
@answers(fields=EXPORTED, noun="events")
@event_filter
def export_cmd(filter: Filter) -> Iterator[Record]:
    """Print events in their hashed form, oldest first.

    With the audit key, the chain can be verified from the export alone.

    \b
    Example:
      flask audit export --format jsonl > audit.jsonl
    """
    from opsapp.audit import events

    return events.export(filter)


@cli.command("rebase")
@click.option(
    "--checkpoint",
    type=TEXT_FILE,
    required=True,
    help="File with checkpoint lines; - is stdin.",
)
@changes("lost_seq", "restored_seq", key="lost_seq", destructive=True)
def rebase_cmd(checkpoint: str, unit: Unit) -> Record:
    """Declare that the database was restored from an older copy.

    From then on verify reports the lost events as a gap with its author.

    \b
    Example:
      flask audit rebase --checkpoint audit.checkpoints --reason "disk lost" --yes
    """
    from opsapp.audit import checkpoints, verification

    if not unit.reason:
        raise Invalid("a restore needs a --reason")
    points = checkpoints.checkpoints(checkpoint.splitlines())
    approve("Declare the events after the last one here as lost?", severe=True)
    return verification.rebase(points, unit=unit)


@cli.command("sessions")
@page_options()
@answers(*SESSION[:-2], "reason", fields=SESSION, noun="sessions")
def sessions_cmd(limit: int | None) -> list[Record]:
    """List the sessions of flask shell and flask query.

    A session is open, closed, or lost: killed, or cut off from the database.

    \b
    Example:
      flask audit sessions --limit 20
    """
    from opsapp.console import sessions

    return sessions.listing(limit)


@cli.command("session")
@click.argument("id")
@answers()
def session_cmd(id: str) -> Record:
    """Show a session with every input of its transcript.

    Exits 6 if the transcript is not the one that the audit log knows, or is missing on
    the host that wrote it.

    \b
    Example:
      flask audit session 3f2a91c4
    """
    from opsapp.console import sessions

    record = sessions.get(id)
    findings(record["transcript"].startswith(("edited", "missing")))
    return record
