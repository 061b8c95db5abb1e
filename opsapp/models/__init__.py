"""The nouns: accounts, roles and grants, what lets people in, mail, the audit, profiles."""

from .audit import AuditEvent, AuditHead, PersonalValue
from .mail import MailMessage
from .profiles import ProfileSave, ProfileSeries, ProfileTrace, ProfileWindow
from .roles import ADMIN, Grant, Role
from .sessions import ApiToken, Login, UserSession
from .users import User

__all__ = [
    "ADMIN",
    "ApiToken",
    "AuditEvent",
    "AuditHead",
    "Grant",
    "Login",
    "MailMessage",
    "PersonalValue",
    "ProfileSave",
    "ProfileSeries",
    "ProfileTrace",
    "ProfileWindow",
    "Role",
    "User",
    "UserSession",
]
