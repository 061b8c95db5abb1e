"""Accounts: users, roles, grants, sessions, tokens and logins.

==================  =========================================================
users               create, change, delete accounts
signin              activate, deactivate, passwords, second factors, lockouts
selfservice         changes that users make to their own accounts
effects             what else a change does, for dry runs
personal_data       all that is held about an account, as a file
erasure             the personal data of accounts, removed
offboarding         everything that an account has, ended at once
passwords           one policy and one hash for every source of a password
password_policy     the policy itself, as Flask-Security calls it
breached            stolen passwords, in a file of hashes, and the application's name
usernames           their canonical form
reachable           addresses that an account may have
roles               sets of permissions
role_file           roles and grants as a file
role_plan           what makes the database like such a file
grants              roles given to accounts, and their history
grant_rows          the same as rows, given and taken by statements
bulk                statements over many accounts at once
reviews             grants that are kept or refused, and their end
review_page         a review as a page to print
permissions         the permissions that code asks for
authority           permission checks, made inside of the gate
access              explanations and matrices: who may do what, and why
sessions            browser sessions
tokens              API tokens
logins              login attempts
lockouts            counters of failures, and the locks that follow
lookup              accounts and roles by id, address or name
listing             filtered and paged lists of accounts
records             the public form of an account
transfer            accounts by the file: import and export
==================  =========================================================

Writing functions take a ``unit`` (actor, reason, door), and enter it when they need
the gate. They return the records that the API and ``--format json`` show.

Decisions: docs/decisions/accounts.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from . import authority as authority
    from . import permissions as permissions
    from . import users as users
    from .lookup import get_user as get_user

__all__ = ["authority", "get_user", "permissions", "users"]

__getattr__ = exports(__name__, authority=[], lookup=["get_user"], permissions=[], users=[])
