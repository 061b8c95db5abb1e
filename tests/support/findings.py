"""Findings of `flask doctor`."""

from __future__ import annotations

import json
from typing import Any

from tests.support import Result


def findings(result: Result) -> dict[str, tuple[str, str, str | None]]:
    """Return state, message and hint of each check that is not well."""
    rows: list[dict[str, Any]] = json.loads(result.stdout)
    return {
        row["check"]: (row["state"], row["says"], row["advice"])
        for row in rows
        if row["state"] != "ok"
    }
