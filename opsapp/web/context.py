"""Variables of every template: the application's name, version and environment."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from .. import __version__


def init_app(app: Flask) -> None:
    """Add the variables; Flask-Login adds ``current_user``."""
    app.config.setdefault("VERSION", __version__)
    app.context_processor(names)


def add_to_navigation(app: Flask, label: str, endpoint: str) -> None:
    """Add a link to the navigation of signed-in users.

    :param endpoint: of a page without arguments, such as ``shop.orders``.
    """
    app.extensions.setdefault(_NAVIGATION, []).append((label, endpoint))


_NAVIGATION = "opsapp-navigation"


def names() -> dict[str, Any]:
    """Return the variables."""
    return {
        "navigation": current_app.extensions.get(_NAVIGATION, ()),
        "app_name": current_app.config["APP_NAME"],
        "version": current_app.config["VERSION"],
        "environment": current_app.config["OPSAPP_ENV"],
    }
