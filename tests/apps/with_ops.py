"""The other applications of this package, with the one line that attaches opsapp."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from flask import Flask

from opsapp import Ops


def create_app(name: str, **parts: Any) -> Flask:
    module = import_module(f"tests.apps.{name}")
    app: Flask = module.create_app()
    Ops(app, module.db, **parts)
    return app
