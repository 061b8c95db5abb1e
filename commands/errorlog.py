"""The log of unexpected errors: one JSON line each, readable by its owner, without secrets."""

from __future__ import annotations

import json
import os
import re
import sys
import traceback
from secrets import token_hex

from opsapp import clock, config
from opsapp.settings import SETTINGS

_URL_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]*@")


def write(error: Exception) -> tuple[str, str | None]:
    """Log ``error`` under a new id; the id, and the file or None if it cannot be written."""
    number = token_hex(4)
    path = config.instance_folder() / "errors.log"
    line = json.dumps(
        {
            "id": number,
            "at": clock.rfc3339(clock.now()),
            "command": " ".join(sys.argv[1:2]),
            "traceback": redacted("".join(traceback.format_exception(error))),
        }
    )
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(line + "\n")
    except OSError:
        return number, None
    return number, str(path)


def redacted(message: str) -> str:
    """``message`` without the secrets of the configuration and the passwords of URLs."""
    for setting in SETTINGS:
        value = os.environ.get(setting.name) if setting.secret else None
        if value and len(value) >= 8:
            message = message.replace(value, "•••")
    return _URL_PASSWORD.sub(r"\1•••@", message)
