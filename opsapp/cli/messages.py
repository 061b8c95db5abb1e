"""Remarks on stderr: progress, warnings, hints. Answers go to stdout."""

from __future__ import annotations

import sys
from contextlib import suppress

import click

from .. import text
from ..errors import brief
from .help import as_typed


def say(message: str) -> None:
    """Print a remark on stderr, shortened, and escaped for terminals."""
    message = as_typed(message, click.get_current_context(silent=True))
    print_error(brief(text.safe(message)))


def print_error(message: str) -> None:
    """Print ``message`` on stderr as it is."""
    # A closed stderr must not hide the exit code.
    with suppress(OSError, ValueError):
        sys.stderr.write(message + "\n")
        sys.stderr.flush()
