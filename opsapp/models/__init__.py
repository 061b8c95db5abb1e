"""The nouns: accounts, roles and grants, what lets people in, mail, jobs, the audit, profiles."""

from ..extensions import Model
from .accounts import ADMIN, Grant, Role, User
from .audit import AuditEvent, AuditHead, PersonalValue
from .jobs import JobOutput, JobRun
from .mail import MailMessage
from .profiles import ProfileSave, ProfileSeries, ProfileTrace, ProfileWindow
from .sessions import ApiToken, Login, UserSession
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
