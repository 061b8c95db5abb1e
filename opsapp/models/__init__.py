"""The tables.

========  =======================================================
accounts  users, roles, grants
sessions  browser sessions, API tokens, log-in attempts
audit     events, their head, and the personal data beside them
jobs      runs and their output
mail      the outbox
profiles  recorded timings, traces, baselines
indexes   partial indexes, which only migrations import
types     column types that tolerate damaged values
========  =======================================================

Decisions: docs/decisions/accounts.md, and those of the other rooms
"""

from ..extensions import Model
from .accounts import ADMIN, Grant, Role, User
from .audit import AuditEvent, AuditHead, PersonalValue
from .jobs import JobOutput, JobRun
from .mail import MailMessage
from .profiles import ProfileSave, ProfileSeries, ProfileTrace, ProfileWindow
from .sessions import ApiToken, Login, LoginFailures, UserSession
from .types import UTCDateTime

__all__ = [
    "ADMIN",
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
    "PersonalValue",
    "ProfileSave",
    "ProfileSeries",
    "ProfileTrace",
    "ProfileWindow",
    "Role",
    "UTCDateTime",
    "User",
    "UserSession",
]
