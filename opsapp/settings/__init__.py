"""Settings: read from ``app.config``, the environment, a file, or a default.

- ``declared``: every setting with its meaning, default, parser and secrecy
- ``setting``: the form of a declaration, and the order in which a value is looked for
- ``parsers``: texts as values
- ``secret_files``: secrets in files, generated in development
- ``config``: the configuration of a new Flask application

Decisions: docs/decisions/core.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Flask, current_app, has_app_context

from .declared import BY_NAME
from .declared import HANDED_DOWN as HANDED_DOWN
from .declared import IN_FILES as IN_FILES
from .declared import ROOT as ROOT
from .declared import SECRETS as SECRETS
from .declared import SETTINGS as SETTINGS
from .declared import SHIPPED_JOBS as SHIPPED_JOBS
from .declared import SHIPPED_JOBS_ATTACHED as SHIPPED_JOBS_ATTACHED
from .setting import DATABASE as DATABASE
from .setting import DEVELOPMENT as DEVELOPMENT
from .setting import PRODUCTION as PRODUCTION
from .setting import Environ, Values
from .setting import Setting as Setting

__all__ = ["get"]


def get(name: str, environ: Environ | None = None) -> Any:
    """Return the value of a setting.

    :param environ: read instead of ``app.config`` and the process's environment.
    :raises NotReady: it is not of its form, or is missing and needed.
    """
    return Values(BY_NAME, environ)[name]


def of(app: Flask, name: str) -> Any:
    """Return the value of a setting of this application, outside of its context too."""
    if has_app_context() and current_app == app:
        return get(name)
    with app.app_context():
        return get(name)


def parse_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a configuration, with the texts of settings as the environment's are.

    :raises NotReady: a text is not of its setting's form.
    """
    declared = {setting.key or setting.name: setting for setting in SETTINGS}
    return {
        key: declared[key].parse(value)
        if key in declared and value and isinstance(value, str)
        else value
        for key, value in config.items()
    }
