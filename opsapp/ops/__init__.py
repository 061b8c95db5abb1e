"""Ops: the console on an application that has its own users and its own database.

==============  ============================================================
extension       ``Ops(app, db)``, what an application writes
attached        the state of an application that it is attached to
sessions        its session and its engines
engines         engines of ours in place of an application's, while a command runs
autogenerate    keeps an application's own migrations from dropping our tables
identity        its accounts: a model, columns and functions; their keys and names
discovery       an identity from its arguments, its framework, and names
attributes      columns, hybrids and relations of a model
roles           roles by a relation, a flag or a word
passwords       its own function that sets a password
missing         parts of an identity that are not there, and their arguments
promises        the parts as a list; what holds on it, and what is weaker
subjects        accounts as the audit names them
acceptance      the event that says by which identity accounts were changed
accounts        accounts created and changed
fields          names and other attributes of an account, and those that it needs
grants          roles granted, revoked, swept, and their history
ends            ends of roles
administrators  the last administrator, and the role that makes one
limit           a time limit for its listeners, which run inside of a unit
listing         lists of accounts and roles
listeners       ``observe()``, and what an application's models and session call
observer        writes down what an application's own code changes of its accounts
changes         the events that the history of an account gives
bulk            those of a statement that changes accounts without loading them
acting          who changes them
units           changes of its own code through our gate
keeping         what is refused, where an application asks for it
seal            chains what waits
requests        its requests, recorded
pages           health, metrics and profiles under an address of the application
==============  ============================================================

Decisions: docs/decisions/ops.md
"""

from typing import TYPE_CHECKING

from ..lazy import exports

if TYPE_CHECKING:
    from .attached import Attached as Attached
    from .extension import Ops as Ops
    from .roles import Roles as Roles

__all__ = ["Attached", "Ops", "Roles"]

__getattr__ = exports(__name__, attached=["Attached"], extension=["Ops"], roles=["Roles"])
