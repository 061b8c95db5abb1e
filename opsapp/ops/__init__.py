"""Ops: the console on an application that has its own users and its own database.

=================  =====================================================================
attached           the state of an application that it is attached to
sessions           its session and its engines
engines            engines of ours in place of an application's, while a command runs
autogenerate       keeps an application's own migrations from dropping our tables
identity           its accounts: a model, columns and functions; their keys and names
discovery          an identity from its arguments, its framework, and names
arguments          what its arguments may be
attributes         columns, hybrids and relations of a model
roles              roles by a relation, a flag or a word
passwords          its own function that sets a password
capabilities       the parts of an identity, and their arguments
promises           the parts as a list; what holds on it, and what is weaker
subjects           accounts as the audit names them
acceptance         the event that says by which identity accounts were changed
accounts           accounts created and changed
fields             names and other attributes of an account, and those that it needs
grants             roles granted, revoked, swept, and their history
role_ends          ends of roles
explanations       why an account may act by a role or a permission, or why not
administrators     the last administrator, and the role that makes one
limit              a time limit for its listeners, which run inside of a unit
commits            commits of an application's functions, which wait for the unit's
offboarding        everything of an account that its model and functions can end
listing            lists of accounts and roles
listeners          ``observe()``, and what an application's models and session call
observer           writes down what an application's own code changes of its accounts
changes            the events that the history of an account gives
foreign_keys       those of a role that is set by the column of its key
bulk               those of a statement that changes accounts without loading them
actor              who changes them
units              changes of its own code through our gate
protection         what is refused, where an application asks for it
session_changes    changes of a session until its commit, where our tables are elsewhere
separate_database  our tables in one of their own
settlement         changes whose outcome a killed process left unknown
directory          the accounts that events are about
checks             the checks of `flask ops doctor`
seal               chains what waits
requests           its requests, recorded
pages              health, metrics and profiles under an address of the application
=================  =====================================================================

Decisions: docs/decisions/ops.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .attached import Attached as Attached
    from .roles import Roles as Roles

__all__ = ["Attached", "Roles"]

__getattr__ = exports(__name__, attached=["Attached"], roles=["Roles"])
