"""The nouns: accounts, roles and grants, what lets people in, mail, jobs, the audit."""

from .audit import AuditEvent, AuditHead, PersonalValue
from .jobs import JobOutput, JobRun
from .mail import MailMessage
from .roles import ADMIN, Grant, Role
from .sessions import ApiToken, Login, UserSession
from .users import User

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
    "PersonalValue",
    "Role",
    "User",
    "UserSession",
]
