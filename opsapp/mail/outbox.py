"""The outbox: a message is written to the database first, and sent from there.

A mail server that is away loses nothing and undoes nothing: the message is tried again,
with growing pauses, for three days. A message may arrive twice, if the process died between
sending and recording that.
Reasons: docs/decisions/mail.md#mail-goes-through-the-outbox
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import Flask
from sqlalchemy import orm as so
from sqlalchemy.exc import SQLAlchemyError

from .. import addresses, clock, crypto, settings, text
from ..engine import locks
from ..engine.conditions import translate_error
from ..errors import NotReady, OpsError
from ..extensions import db, this_app
from ..models import MailMessage
from ..settings import config
from ..types import Record
from ..unit.work import bookkeeping
from .undeliverable import UndeliverableError

log = logging.getLogger(__name__)

RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60, 240))
GIVEN_UP_AFTER = timedelta(days=3)
AT_ONCE = 20
"""Messages that their process sends; more wait for ``flask mail send-pending``."""
MAIL_THREAD = "opsapp-mail"
"""The extension with the executor that sends the mail of an application's requests."""
_PURPOSE = "mail"


_is_later: ContextVar[bool] = ContextVar("is_later", default=False)
_kept: ContextVar[list[MailMessage] | None] = ContextVar("kept", default=None)


@dataclass(frozen=True, slots=True)
class Message:
    """One message, as plain text."""

    kind: str
    """The name of its template."""
    recipient: str
    subject: str
    body: str
    about: str | None = None
    """The account whose erasure removes it, such as ``user:12``."""


def put(message: Message) -> None:
    """Write a message into the outbox, in the transaction of the open unit of work.

    It is for receivers of :func:`opsapp.signals.before_commit`: the message is committed
    with the change. The door then sends the messages of :func:`take_kept`.
    """
    row = _row(message)
    db.ours.add(row)
    if not _is_later.get():
        _keep([row])


def _keep(rows: Iterable[MailMessage]) -> None:
    messages = _kept.get()
    if messages is None:
        _kept.set(messages := [])
    messages.extend(rows)


@contextmanager
def defer_sending() -> Iterator[None]:
    """Leave the messages that are put inside to ``flask mail send-pending``."""
    token = _is_later.set(True)
    try:
        yield
    finally:
        _is_later.reset(token)


def keep(messages: Iterable[Message], *, unless_since: datetime | None = None) -> None:
    """Write messages into the outbox, in a transaction of their own.

    :param unless_since: leave out a message if the same address had one of its kind since then.
    """
    with bookkeeping() as session:
        if unless_since is not None:
            messages = [
                message for message in messages if not _was_written(session, message, unless_since)
            ]
        rows = [_row(message) for message in messages]
        session.add_all(rows)
    _keep(rows)


def _row(message: Message) -> MailMessage:
    return MailMessage(
        about=message.about,
        kind=message.kind,
        recipient=message.recipient,
        subject=message.subject,
        body=crypto.seal(message.body, _PURPOSE),
    )


def _was_written(session: so.Session, message: Message, since: datetime) -> bool:
    locks.queue_up(session.connection(), f"mail {message.kind} {message.recipient}")
    same = (
        MailMessage.about == message.about,
        MailMessage.recipient == message.recipient,
        MailMessage.kind == message.kind,
    )
    lately = sa.select(MailMessage.id).where(*same, MailMessage.created_at >= since)
    return session.scalar(lately.limit(1)) is not None


def is_configured() -> bool:
    """Return whether mail can be sent: to a server, or to the folder of development."""
    return bool(settings.get("MAIL_SERVER")) or (config.environment() == config.DEVELOPMENT)


def take_kept() -> tuple[int, ...]:
    """Return the ids of the messages of this context, for the caller to send, and forget them.

    A message whose transaction was rolled back has no identity any more.
    """
    rows = _kept.get() or ()
    _kept.set(None)
    identities = (sa.inspect(row).identity for row in rows)
    return tuple(identity[0] for identity in identities if identity)


def send(ids: Sequence[int]) -> int:
    """Try the first of these messages once; return how many still wait."""
    if not is_configured():
        return len(ids)
    records = [_try(id) for id in ids[:AT_ONCE]]
    waiting = [record for record in records if record and record["state"] == "waiting"]
    return len(waiting) + len(ids[AT_ONCE:])


def wait_for_thread(app: Flask) -> None:
    """Return once the mail of the requests to ``app`` in this process was tried."""
    executor = app.extensions.get(MAIL_THREAD)
    if executor is not None:
        executor.submit(int).result()


def _try(id: int) -> Record | None:
    try:
        return _send(id)
    except (OpsError, SQLAlchemyError) as error:
        # The change that it reports is committed and answered.
        condition = translate_error(error) if isinstance(error, SQLAlchemyError) else None
        log.warning("mail %s waits: %s", id, text.first_line(condition or error))
        return {"id": id, "state": "waiting"}


def send_pending(*, dry_run: bool = False, limit: int = 1000) -> list[Record]:
    """Try every due message, the oldest first.

    :returns: each with ``state``: ``sent``, ``waiting`` (it is tried again) or ``given up``,
        without those that another process has taken meanwhile.
    :raises NotReady: there is no server to send it to.
    """
    if not is_configured():
        raise NotReady("MAIL_SERVER is not set, so mail waits", hint="flask doctor --settings")
    due = sa.select(MailMessage).where(MailMessage.next_at <= clock.now())
    messages = db.ours.scalars(due.order_by(MailMessage.id).limit(limit)).all()
    if dry_run:
        return [record(message) for message in messages]
    ids = [message.id for message in messages]
    db.ours.rollback()  # PostgreSQL ends a transaction that is idle during the sending.
    return [outcome for id in ids if (outcome := _send(id)) is not None]


def _send(id: int) -> Record | None:
    message = _claim(id)
    if message is None:
        return None
    error, is_final = _deliver(message)
    with bookkeeping() as session:
        row = session.get(MailMessage, id)
        if row is None:  # Its account was erased meanwhile, with all its mail.
            return None
        row.error = error and text.safe(error)[:255]
        if error is None:
            # A sent message may hold a link that signs a user in, so its text is not kept.
            row.sent_at, row.next_at, row.body = clock.now(), None, ""
        elif is_final or row.created_at < clock.now() - GIVEN_UP_AFTER:
            row.next_at, row.body = None, ""
        session.flush()
        return record(row)


def _claim(id: int) -> MailMessage | None:
    """Return the message if it is due, and reserve it until its next try."""
    now = clock.now()
    with bookkeeping() as session:
        message = session.scalar(
            sa.select(MailMessage)
            .where(MailMessage.id == id, MailMessage.next_at <= now)
            .with_for_update(skip_locked=True)
        )
        if message is not None:
            wait = RETRIES[min(message.attempts, len(RETRIES) - 1)]
            message.attempts += 1
            message.next_at = now + wait
            session.flush()
            session.expunge(message)
        return message


def _deliver(message: MailMessage) -> tuple[str | None, bool]:
    """Send the message; return the error, or None, and whether it is final."""
    from cryptography.fernet import InvalidToken
    from flask_mailman import EmailMessage

    try:
        body = crypto.unseal(message.body, _PURPOSE)
        # A connection to a server that refused would stay open until it is collected.
        with mailer().get_connection() as connection:
            recipient = addresses.mailbox(message.recipient)
            EmailMessage(message.subject, body, to=[recipient], connection=connection).send()
    except InvalidToken:
        return f"it was sealed under another {crypto.name_of_secret(this_app())}", False
    except UndeliverableError as error:
        log.warning("mail %s (%s) cannot be delivered: %s", message.id, message.kind, error)
        return str(error), error.is_final
    except (OSError, ValueError) as error:  # SMTP's errors are OSErrors.
        log.warning("mail %s (%s) was not sent: %s", message.id, message.kind, text.safe(error))
        return f"{type(error).__name__}: {error}", False
    except Exception as error:
        # The change that it reports is committed: a fault in mailing must not hide that.
        log.exception("mail %s (%s) could not be sent", message.id, message.kind)
        return f"{type(error).__name__}: {error}", False
    return None, False


def mailer() -> Any:
    """Return the Flask-Mailman of the current app, made on first use."""
    app = this_app()
    if "mailman" not in app.extensions:
        from flask_mailman import Mail

        Mail(app)
    return app.extensions["mailman"]


def state(message: MailMessage) -> str:
    """Return ``sent``, ``waiting`` or ``given up``."""
    if message.sent_at:
        return "sent"
    return "waiting" if message.next_at else "given up"


def record(message: MailMessage) -> Record:
    """Return the public form of a message, without its body."""
    return {
        "id": message.id,
        "kind": message.kind,
        "recipient": message.recipient,
        "subject": message.subject,
        "state": state(message),
        "created_at": message.created_at,
        "attempts": message.attempts,
        "next_at": message.next_at,
        "sent_at": message.sent_at,
        "error": message.error,
    }


def listing(*, pending: bool = False, limit: int | None = 50) -> list[Record]:
    """Return the newest messages, or the newest that wait."""
    query = sa.select(MailMessage).order_by(MailMessage.id.desc()).limit(limit)
    if pending:
        query = query.where(MailMessage.next_at.is_not(None))
    return [record(message) for message in db.ours.scalars(query)]


def count_waiting() -> tuple[int, datetime | None, datetime | None]:
    """Return the number of waiting messages, the oldest one's time, and when the next is due."""
    numbers = sa.select(
        sa.func.count(), sa.func.min(MailMessage.created_at), sa.func.min(MailMessage.next_at)
    )
    row = db.ours.execute(numbers.where(MailMessage.next_at.is_not(None))).one()
    return row[0], row[1], row[2]


def in_words(count: int) -> str:
    """Return the number of waiting messages in words."""
    return "1 message waits" if count == 1 else f"{count or 'no'} messages wait"


def last_failure() -> str | None:
    """Return the server's error to the newest message that waits for another try."""
    criteria = (MailMessage.next_at.is_not(None), MailMessage.error.is_not(None))
    newest = sa.select(MailMessage.error).where(*criteria).order_by(MailMessage.id.desc())
    return db.ours.scalar(newest.limit(1))
