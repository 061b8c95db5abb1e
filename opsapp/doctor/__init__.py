"""Checks of an installation, for `flask doctor`: each a function with advice.

- ``settings``: the environment and the modes of files, without an application
- ``application``: all checks of an application and its database, in their order
- ``own``: tables, audit, accounts, jobs, mail and profiles of opsapp
- ``server``: the database's server and this host
- ``findings``: the form of a finding
"""

from .application import check_application as check_application
from .findings import finding as finding
from .settings import check_settings as check_settings

__all__ = ["check_application", "check_settings", "finding"]
