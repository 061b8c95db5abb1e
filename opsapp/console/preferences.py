"""Preferences: ``console.toml`` of the instance folder, which holds values and no code."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from importlib import import_module
from pathlib import Path
from typing import Any

from .. import text, textfiles
from ..errors import NotReady
from ..files.modes import writable_by_others
from ..settings import config

NAME = "console.toml"
EDITING = ("emacs", "vi")
COLOURS = {"none": "nocolor", "neutral": "neutral", "light": "lightbg", "dark": "linux"}
"""The colours by our names, with IPython's."""
MOST_HISTORY = 1_000_000


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of an installation's consoles at a terminal."""

    editing: str = "emacs"
    colours: str = "neutral"
    banner: bool = True
    history: int = 10_000
    """Inputs that the history keeps; 0 keeps none."""
    names: dict[str, str] = field(default_factory=dict)
    """Names to begin with: ``MODULE`` or ``MODULE:ATTRIBUTE``."""

    def objects(self) -> Iterator[tuple[str, Any, str]]:
        """Yield each startup name with its value and its line, or the error of its import."""
        for name, path in self.names.items():
            try:
                yield name, _import_object(path), path
            except Exception as error:  # noqa: BLE001  (the console starts without it)
                yield name, error, path


def read() -> Preferences:
    """Return the preferences; the defaults without a file.

    :raises NotReady: the file cannot be read, has an unknown key or a wrong value, or other
        users can write it.
    """
    path = config.instance_folder() / NAME
    try:
        document = tomllib.loads(textfiles.read(path))
        open_to_others = writable_by_others(path)
    except FileNotFoundError:
        return Preferences()
    except (OSError, textfiles.NotText, tomllib.TOMLDecodeError) as error:
        raise NotReady(f"{path} cannot be read: {text.first_line(error)}") from error
    if open_to_others is not None:
        hint = f"chmod go-w {open_to_others}"
        raise NotReady(f"others can write {path}, which names modules", hint=hint)
    return Preferences(**{key: _check(path, key, value) for key, value in document.items()})


def _check(path: Path, key: str, value: Any) -> Any:
    names = [field.name for field in fields(Preferences)]
    if key not in names:
        near = text.did_you_mean(key, names) or f"one of {', '.join(names)}"
        raise NotReady(f"{path}: {text.truncate(key)} is not a known preference", hint=near)
    fits, words = _KINDS[key]
    if not fits(value):
        raise NotReady(f"{path}: {key} is {text.truncate(str(value))}, and not {words}")
    return value


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MOST_HISTORY


def _are_names(value: Any) -> bool:
    return isinstance(value, dict) and all(
        name.isidentifier() and isinstance(path, str) and path for name, path in value.items()
    )


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "editing": (lambda value: value in EDITING, " or ".join(EDITING)),
    "colours": (lambda value: value in tuple(COLOURS), f"one of {', '.join(COLOURS)}"),
    "banner": (lambda value: isinstance(value, bool), "true or false"),
    "history": (_is_count, f"a number from 0 to {MOST_HISTORY}"),
    "names": (_are_names, 'a table of names such as Order = "shop.models:Order"'),
}
"""For each preference a test of its value, and the values in words."""


def _import_object(path: str) -> Any:
    module, _, attributes = path.partition(":")
    value: Any = import_module(module)
    for attribute in attributes.split(".") if attributes else ():
        value = getattr(value, attribute)
    return value
