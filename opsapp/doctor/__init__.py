"""Checks of an installation, for `flask doctor`: each a function with advice.

- ``settings``: the environment and the modes of files, without an application
- ``application``: all checks of an application and its database, in their order
- ``rooms``: tables, audit, accounts, jobs, mail and profiles of opsapp
- ``server``: the database's server and this host
- ``maintenance``: reviews, jobs, copies and checkpoints that are overdue
- ``sources``: the settings with their values and sources
- ``findings``: the form of a finding

Decisions: docs/decisions/core.md#doctor-finds-omissions
"""

__all__: list[str] = []
