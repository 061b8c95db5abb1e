"""The log of unexpected errors: one JSON line each, readable by its owner, without secrets."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from secrets import token_hex

import click

from .. import clock
from ..errors import NotReady
from ..redaction import redact_traceback
from ..settings import config


def write(error: Exception) -> tuple[str, str | None]:
    """Log ``error``; return its new id, and the file, or None if it cannot be written."""
    number = token_hex(4)
    line = json.dumps(
        {
            "id": number,
            "at": clock.rfc3339(clock.now()),
            "command": " ".join(sys.argv[1:2]),
            "traceback": redact_traceback(error),
        }
    )
    try:
        path = _folder() / "errors.log"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Opening a pipe of this name would wait for a reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    except (OSError, NotReady):
        return number, None
    return number, str(path)


def _folder() -> Path:
    """Return the instance folder of the command's application, whose context has ended.

    :raises NotReady: there is none, and the folder's setting is not of its form.
    """
    from flask.cli import ScriptInfo

    from ..state import EXTENSION, instance_of

    ctx = click.get_current_context(silent=True)
    info = ctx.find_object(ScriptInfo) if ctx else None
    app = info._loaded_app if info else None  # noqa: SLF001  (load_app() would load it anew)
    if app is not None and EXTENSION in app.extensions:
        return instance_of(app)
    return config.instance_folder()
