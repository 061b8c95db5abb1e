"""The application of Flask-Login, with a program of its own that is a group of Flask."""

from __future__ import annotations

import click
from flask.cli import FlaskGroup

from tests.apps.login_app import create_app


@click.group(cls=FlaskGroup, create_app=create_app)
def blog() -> None:
    """The command line of the blog."""


@blog.command()
def audit() -> None:
    """Count the posts."""
    click.echo("no posts")


@blog.command()
def shell() -> None:
    """Open a shell of the blog."""
    click.echo("a shell of the blog")


@blog.group()
def users() -> None:
    """Manage readers."""


@users.command("list")
def list_users() -> None:
    """Name each reader."""
    click.echo("no readers")


if __name__ == "__main__":
    blog(prog_name="blog")
