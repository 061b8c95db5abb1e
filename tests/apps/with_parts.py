"""The same, with the parts that a test says: those of a command line are words only."""

from __future__ import annotations

from typing import Any

from flask import Flask

from tests.apps import with_ops

PARTS: dict[str, Any] = {}


def create_app(name: str) -> Flask:
    return with_ops.create_app(name, **PARTS)
