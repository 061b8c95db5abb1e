"""Signals, sent after the commit; the last three collect answers.

:func:`before_commit` gives a signal's twin for what must not be lost, such as mail.

The sender is the Flask application. Every signal is sent with ``actor`` (an
:class:`~opsapp.actors.Actor`) and, where something was changed, ``correlation``
(the id under which the audit log holds it). A receiver that raises is
logged: the change is already committed, and the other receivers still run.
Nothing is sent for a dry run or for a change that was refused. Take ``**extra``
in a receiver: signals may gain fields.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from blinker import NamedSignal, Namespace

if TYPE_CHECKING:
    from flask import Flask

log = logging.getLogger(__name__)

_signals = Namespace()
_before_commit = Namespace()
_of_rooms = Namespace()

user_created = _signals.signal(
    "user-created",
    doc="An account was created. ``user_id``, and from an import ``invited`` (whether the user is"
    " to be told).",
)
user_updated = _signals.signal(
    "user-updated",
    doc="E-mail, username, password, active state or means of login changed. ``user_id``.",
)
user_email_changed = _signals.signal(
    "user-email-changed",
    doc="An account has another address. ``user_id``, ``before`` (the old address).",
)
second_factor_changed = _signals.signal(
    "second-factor-changed",
    doc="Two-factor authentication was set up, changed or removed. ``user_id``, ``method``"
    " (``authenticator``, or None where it was removed).",
)
recovery_codes_set = _signals.signal(
    "recovery-codes-set",
    doc="An account has new recovery codes, and the old ones are worth nothing. ``user_id``.",
)
recovery_code_used = _signals.signal(
    "recovery-code-used",
    doc="A user signed in with a recovery code. ``user_id``, ``codes_left``.",
)
reset_requested = _signals.signal(
    "reset-requested",
    doc="An operator had a link to set a new password mailed. ``user_id``.",
)
user_deactivated = _signals.signal(
    "user-deactivated",
    doc="An account may no longer sign in, and its sessions have ended. ``user_id``.",
)
user_deleted = _signals.signal(
    "user-deleted",
    doc="An account's personal data was erased; its row stays. ``user_id``.",
)
role_granted = _signals.signal(
    "role-granted",
    doc="A role was given, or its end was changed. ``user_id``, ``role`` (its name), ``grant_id``.",
)
administrators_added = _signals.signal(
    "administrators-added",
    doc="Accounts hold the role admin, or until another time: once for all. ``user_ids``.",
)
role_revoked = _signals.signal(
    "role-revoked",
    doc="A role was taken away. ``user_id``, ``role`` (its name), ``grant_id``.",
)
all_announced = _signals.signal(
    "all-announced",
    doc="Every signal of one unit of work was sent; what receivers gathered can be done at once.",
)
user_logged_in = _signals.signal(
    "user-logged-in",
    doc="A user signed in, second factor included. ``user_id``, ``session_id``; no correlation.",
)
job_started = _signals.signal(
    "job-started",
    doc="A run of a job is about to begin, and is written down. ``name``, ``run_id``.",
)
job_finished = _signals.signal(
    "job-finished",
    doc="A run of a job has ended, and that is written down. ``name``, ``run_id``, ``status``,"
    " ``exit_code``, ``seconds``.",
)
command_finished = _signals.signal(
    "command-finished",
    doc="A command of ours that loaded the application has ended. ``command`` (its words),"
    " ``exit_code``, ``seconds``, ``changed`` (whether it committed a change).",
)
address_entered = _signals.signal(
    "address-entered",
    doc="An account may get an address. ``email``. Return why mail cannot reach it, or None. Sent"
    " without actor, before the change begins.",
)
personal_data = _signals.signal(
    "personal-data",
    doc="`flask users personal-data` gathers what is held about an account. ``user_id``. Return a"
    " dictionary that JSON can hold. Sent without actor.",
)
shell_names = _signals.signal(
    "shell-names",
    doc="`flask shell` gathers its names. Return a dictionary: a name's value, or a pair of the"
    " value and a line that says what it is. Sent without actor, before anything runs.",
)


def before_commit(signal: NamedSignal) -> NamedSignal:
    """Return the twin of ``signal`` that a unit of work sends inside of its transaction.

    Its receivers' writes through ``db.session`` are committed with the change or not at all.
    Other units wait at the gate meanwhile, so it is for rows, such as mail into the outbox.
    """
    return _before_commit.signal(signal.name)


def of_rooms(signal: NamedSignal) -> NamedSignal:
    """Return the twin of ``signal`` that the rooms of opsapp answer, beside the application."""
    return _of_rooms.signal(signal.name)


def prepare(
    signal: NamedSignal, app: Flask, fatal: tuple[type[Exception], ...], **payload: Any
) -> None:
    """Send the twin of ``signal``.

    :param fatal: the errors of a receiver that undo the change: they are raised.
    """
    _send(before_commit(signal), app, payload, fatal=fatal)


def announce(signal: NamedSignal, app: Flask, **payload: Any) -> None:
    """Send ``signal``; a receiver's error is logged, and the next receiver still runs."""
    _send(signal, app, payload, fatal=())


def _send(
    signal: NamedSignal,
    app: Flask,
    payload: dict[str, Any],
    *,
    fatal: tuple[type[Exception], ...],
) -> None:
    for receiver in signal.receivers_for(app):
        try:
            receiver(app, **payload)
        except fatal:
            raise
        except Exception:
            # The change has happened: a receiver may not undo or hide it.
            log.exception("a receiver of the signal %s failed", signal.name)
