"""Accounts: users, roles, grants, sessions, tokens and log-ins.

A verb that writes takes ``unit`` (who, why, which door) and enters it where it
needs the gate. Verbs return plain records, the same dictionaries that the API
and ``--format json`` show, and raise the conditions of :mod:`opsapp.errors`.
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from . import authority as authority
    from .lookup import get_user as get_user

__all__ = ["authority", "get_user"]

__getattr__ = exports(__name__, authority=[], lookup=["get_user"])
