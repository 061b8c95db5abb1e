"""Types that every room shares."""

from __future__ import annotations

from typing import Any

Record = dict[str, Any]
"""A plain record: what a service returns, a command prints and the API sends."""
