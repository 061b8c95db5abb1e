"""Variables of every template: the application's name, version and environment."""

from __future__ import annotations

from typing import Any

from flask import Flask, current_app

from .. import __version__, settings, text


def init_app(app: Flask) -> None:
    """Add the variables, and the filter ``shown``; Flask-Login adds ``current_user``."""
    app.config.setdefault("VERSION", __version__)
    app.context_processor(names)
    app.add_template_filter(text.safe_value, "shown")


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
        "app_name": settings.get("OPSAPP_NAME"),
        "version": current_app.config["VERSION"],
        "environment": settings.get("OPSAPP_ENV"),
    }
