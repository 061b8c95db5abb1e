"""The nouns: accounts, roles and grants, the audit."""

from .audit import AuditEvent, AuditHead, PersonalValue
from .roles import ADMIN, Grant, Role
from .users import User

__all__ = ["ADMIN", "AuditEvent", "AuditHead", "Grant", "PersonalValue", "Role", "User"]
