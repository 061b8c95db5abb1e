"""`flask init-db` and `flask create-admin`: short forms of two everyday commands."""

from __future__ import annotations

import click

from . import db, users
from .frame import OpsCommand

init_db = db.init_cmd

create_admin = OpsCommand(
    "create-admin",
    callback=users.create_admin_cmd.callback,
    help="""Create an administrator, as `users create-admin` does.

    \b
    Example:
      flask create-admin ada ada@example.com --generate-password
    """,
    params=[
        click.Argument(["username"]),
        *(param for param in users.create_admin_cmd.params if param.name != "username"),
    ],
)
