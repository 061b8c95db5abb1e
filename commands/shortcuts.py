"""`flask init-db` and `flask create-admin`: short forms of two everyday commands."""

from __future__ import annotations

import click

from opsapp.cli.base import OpsCommand

from . import db
from .users import accounts

init_db = OpsCommand(
    "init-db",
    callback=db.init_cmd.callback,
    help="""Prepare the database, as `db init` does.

    Running it again, or on several hosts at once, is harmless.

    \b
    Example:
      flask init-db
    """,
    params=db.init_cmd.params,
)

create_admin = OpsCommand(
    "create-admin",
    callback=accounts.create_admin_cmd.callback,
    help="""Create an administrator, as `users create-admin` does.

    The username comes first; all other arguments are the same.

    \b
    Example:
      flask create-admin ada ada@example.com --generate-password
    """,
    params=[
        click.Argument(["username"]),
        *(param for param in accounts.create_admin_cmd.params if param.name != "username"),
    ],
)
