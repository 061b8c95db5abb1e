"""Variables of every template: the application's name, version and environment."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from .. import __version__


def init_app(app: Flask) -> None:
    """Add ``app_name``, ``version`` and ``environment``; Flask-Login adds ``current_user``."""
    app.config.setdefault("VERSION", __version__)
    app.context_processor(names)


def names() -> dict[str, Any]:
    """Return the variables."""
    return {
        "app_name": current_app.config["APP_NAME"],
        "version": current_app.config["VERSION"],
        "environment": current_app.config["OPSAPP_ENV"],
    }
