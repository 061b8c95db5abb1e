"""Accounts: users, roles, grants, sessions, tokens and log-ins.

==================  =========================================================
users               create, change, delete accounts
signin              activate, deactivate, passwords, second factors, lock-outs
selfservice         changes that users make to their own accounts
effects             what else a change does, for dry runs
offboarding         everything that an account has, ended at once
passwords           one policy and one hash for every source of a password
password_policy     the policy itself, as Flask-Security calls it
usernames           their canonical form
roles               sets of permissions
grants              roles given to accounts, and their history
authority           permission checks, made inside of the gate
access              explanations and matrices: who may do what, and why
sessions            browser sessions
tokens              API tokens
logins              log-in attempts
lockouts            counters of failures, and the locks that follow
lookup              accounts and roles by id, address or name
listing             filtered and paged lists of accounts
records             the public form of an account
==================  =========================================================

Writing functions take a ``unit`` (actor, reason, door), and enter it when they need
the gate. They return the records that the API and ``--format json`` show.

Decisions: docs/decisions/accounts.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from . import authority as authority
    from .lookup import get_user as get_user

__all__ = ["authority", "get_user"]

__getattr__ = exports(__name__, authority=[], lookup=["get_user"])
