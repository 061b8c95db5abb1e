"""The tables.

===========  ======================================================================
accounts     users, roles, grants
sessions     browser sessions, API tokens, login attempts
audit        events, their head, and the personal data beside them
reviews      access reviews: the grants of a moment, and the decision on each
role_ends    ends of roles in an application's own tables
jobs         runs and their output
mail         the outbox
profiles     recorded timings, traces, baselines
indexes      partial indexes, which only migrations import
sketches     the column type of sketches of durations
types        column types that tolerate damaged values
application  the models, tables and ``db`` of the application, which may be its own
===========  ======================================================================

Accounts, reviews and sessions are of an application that is built on opsapp; every other table
is of each application, and refers to an account by the text ``user:12``.

The files do without ``from __future__ import annotations``: SQLAlchemy would evaluate each
column's annotation by itself, and mapping would take a sixth longer in every command.

Decisions: docs/decisions/accounts.md, and those of the other rooms
"""

from ..extensions import Model
from .accounts import ADMIN, Grant, Role, User
from .audit import AuditEvent, AuditHead, PendingEvent, PersonalValue
from .jobs import JobOutput, JobRun
from .mail import MailMessage
from .profiles import ProfileSave, ProfileSeries, ProfileTrace, ProfileWindow
from .reviews import AccessReview, ReviewItem
from .role_ends import RoleEnd
from .sessions import ApiToken, Login, LoginFailures, UserSession
from .types import UTCDateTime

PREFIX = "ops_"
"""The names of our tables begin with it, and no other table's does."""


def our_tables() -> set[str]:
    """Return the names of our tables, among those of an application's models."""
    mappers = (m for m in Model.registry.mappers if m.class_.__module__.startswith(__name__))
    return {mapper.class_.__tablename__ for mapper in mappers}


for _name in our_tables():
    # An application's `schema_translate_map` is for its own tables, which may have one for each
    # tenant. SQLAlchemy has no public name for this.
    Model.metadata.tables[_name]._use_schema_map = False  # noqa: SLF001

__all__ = [
    "ADMIN",
    "AccessReview",
    "ApiToken",
    "AuditEvent",
    "AuditHead",
    "Grant",
    "JobOutput",
    "JobRun",
    "Login",
    "LoginFailures",
    "MailMessage",
    "Model",
    "PendingEvent",
    "PersonalValue",
    "ProfileSave",
    "ProfileSeries",
    "ProfileTrace",
    "ProfileWindow",
    "ReviewItem",
    "Role",
    "RoleEnd",
    "UTCDateTime",
    "User",
    "UserSession",
]
