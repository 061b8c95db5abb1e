"""The handover of a measured command's SQL to the process that measures it."""

from __future__ import annotations

import contextlib
import json
import os

from .recording import Recording

TO_PARENT = "OPSAPP_PROFILE_FD"
"""The environment variable with the pipe that a measured command writes its SQL to."""
MODE = "OPSAPP_PROFILE_MODE"
"""The environment variable that has a command profiled: ``1`` or ``sample``."""


def tell_parent(recording: Recording) -> None:
    """Send the SQL of this command to the process that measures it, if there is one."""
    descriptor = os.environ.get(TO_PARENT, "")
    if not descriptor.isdigit():
        return
    seconds = sum(seconds for _key, _at, seconds in recording.sent)
    queries = recording.queries or len(recording.sent)
    report = json.dumps({"queries": queries, "query_seconds": seconds})
    with contextlib.suppress(OSError):  # The measuring process has ended.
        os.write(int(descriptor), report.encode())
