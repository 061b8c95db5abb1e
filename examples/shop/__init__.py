"""A shop on opsapp, with its own tables, services, signal, pages, commands and shell names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flask import Flask


def create_app(settings: Mapping[str, Any] | None = None) -> Flask:
    """Create the shop with the whole console: ``flask --app examples.shop …``."""
    from flask import Blueprint

    import opsapp
    from opsapp import migrations

    from . import catalogue, models, names, permissions, receivers

    app = opsapp.create_app(settings, import_name=__name__)
    migrations.add(app, "shop", models.MIGRATIONS)
    permissions.declare()
    receivers.connect(app)
    app.shell_context_processor(names.names)
    app.cli.add_command(catalogue.shop)
    # Commands write mail too, and they do without pages.
    app.register_blueprint(Blueprint("shop_mail", __name__, template_folder="templates"))
    if opsapp.has_web():
        from opsapp.web import add_to_navigation

        from . import views

        app.register_blueprint(views.blueprint)
        add_to_navigation(app, "Orders", "shop.show_orders")
    return app
