"""What the application announces, always after the commit.

The sender is the Flask application. Every signal is sent with ``actor`` (an
:class:`~opsapp.actors.Actor`) and ``correlation`` (the id under which the audit
holds the change). A receiver that raises is logged and harms nobody: the change
is already committed, and the other receivers still run. Nothing is sent for a
dry run or for a change that was refused.
"""

from __future__ import annotations

from blinker import Namespace

_signals = Namespace()

user_created = _signals.signal("user-created", doc="An account was created. ``user_id``.")
user_updated = _signals.signal(
    "user-updated",
    doc="E-mail, username, password, active state or means of sign-in changed. ``user_id``.",
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
role_revoked = _signals.signal(
    "role-revoked",
    doc="A role was taken away. ``user_id``, ``role`` (its name), ``grant_id``.",
)
