"""Sources of the settings: ``app.config``, the environment, a file, or its default."""

from __future__ import annotations

import os
from typing import Any

from flask import current_app

from .. import redaction
from ..extensions import this_attachment
from ..settings import SETTINGS
from ..settings.setting import Setting


def listing() -> list[dict[str, Any]]:
    """Return every setting with its value, its source and its meaning; secrets are hidden."""
    return [
        {
            "name": setting.name,
            "value": _display_value(setting),
            "source": source(setting),
            "default": setting.default_text,
            "meaning": setting.meaning,
        }
        for setting in SETTINGS
    ]


def source(setting: Setting) -> str:
    """Return ``app.config``, ``environment``, ``file`` or ``default``."""
    if _configured_value(setting) is not None:
        return "app.config"
    if os.environ.get(setting.name):
        return "environment"
    return "file" if setting.in_file and os.environ.get(f"{setting.name}_FILE") else "default"


def _display_value(setting: Setting) -> str | None:
    configured = _configured_value(setting)
    value = os.environ.get(setting.name) if configured is None else str(configured)
    return redaction.HIDDEN if value and setting.secret else value


def _configured_value(setting: Setting) -> Any:
    """Return what an application that opsapp is attached to has in ``app.config``.

    That of an application built on opsapp is made of the other sources.
    """
    if this_attachment() is None:
        return None
    return current_app.config.get(setting.config_key())
