"""The form of a setting, and how its value is read.

A value that the application put into ``app.config`` goes before the environment, and that before
the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flask import current_app, has_app_context

from .. import state
from ..errors import NotReady
from ..text import is_utf8
from . import secret_files

DATABASE = "OPSAPP_DATABASE_URL"
DEVELOPMENT = "development"
PRODUCTION = "production"

Environ = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable.

    :param default: its text, or a function of the other values that returns it.
    :param read: parses the text, and raises ValueError with the end of the message.
    :param in_words: the default for readers of the documentation, where it is not the text.
    """

    name: str
    meaning: str
    default: str | Callable[[Values], Any] | None = None
    read: Callable[[str], Any] = str
    in_words: str = ""
    secret: bool = False
    strong: bool = False
    """Every installation needs it, and outside development one that cannot be guessed."""
    in_file: bool = False
    """``NAME_FILE`` may name a file that holds it."""
    key: str = ""
    """Its name in ``app.config``, where that is another one."""

    @property
    def default_text(self) -> str:
        """The default as the documentation says it."""
        return self.in_words or str(self.default or "none")

    def parse(self, value: str) -> Any:
        """Return the value of this text.

        :raises NotReady: it is not of the setting's form, or is not UTF-8.
        """
        if not is_utf8(value):
            raise NotReady(f"{self.name} is not UTF-8")
        try:
            return self.read(value)
        except ValueError as error:
            colon = ":" if self.secret else ""  # A secret is not repeated.
            raise NotReady(f"{self.name}{colon} {error}") from error

    def text(self, environ: Environ) -> str | None:
        """Return the text of the environment, or of the file that it names."""
        value = environ.get(self.name)
        if not value and self.in_file and (file := environ.get(f"{self.name}_FILE")):
            value = secret_files.read(self.name, file)
        return value or None

    def config_key(self) -> str:
        """Return its name in ``app.config`` of the current application."""
        # Under the other name an application that opsapp is attached to keeps its own database.
        is_theirs = self.name == DATABASE and state.attachment_of(current_app) is not None
        return self.name if is_theirs else self.key or self.name


@dataclass(frozen=True, slots=True)
class Values:
    """The values of all settings, by name.

    :param declared: the settings by name.
    :param given: an environment that is read instead of ``app.config`` and the process's.
    """

    declared: Mapping[str, Setting]
    given: Environ | None = None

    @property
    def environ(self) -> Environ:
        """The variables of the environment."""
        return os.environ if self.given is None else self.given

    @property
    def attachment(self) -> Any:
        """The ``Attached`` of the current application; None where it is not asked, or has none."""
        return state.attachment_of(current_app) if self._is_of_app else None

    @property
    def _is_of_app(self) -> bool:
        return self.given is None and has_app_context()

    def __getitem__(self, name: str) -> Any:
        """Return the value of a setting.

        :raises NotReady: it is not of its form, or is missing and needed.
        """
        setting = self.declared[name]
        if self._is_of_app and (key := setting.config_key()) in current_app.config:
            value = current_app.config[key]
            return setting.parse(str(value)) if isinstance(value, str | int) else value
        text = setting.text(self.environ)
        if text is not None:
            if setting.strong and self["OPSAPP_ENV"] != DEVELOPMENT:
                secret_files.refuse_weak(name, text)
            return setting.parse(text)
        if callable(setting.default):
            return setting.default(self)
        return None if setting.default is None else setting.parse(setting.default)
