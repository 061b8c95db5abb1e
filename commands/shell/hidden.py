"""Hidden secrets: containers at the prompt with ``•••`` in the place of each."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from opsapp.redaction import HIDDEN, is_secret_name, looks_secret

Fields = Mapping[Any, Any]
"""The values of a container by their names or keys."""


def hide_secrets(value: Any) -> Any:
    """Return the value itself, or a copy of a container that has secrets, without them."""
    has_secrets = _hide(value, {}) is not value
    # The copy must not lead back to the container itself.
    return _hide(value, {}, circle=...) if has_secrets else value


def _hide(value: Any, parents: Mapping[int, Any], circle: Any = None) -> Any:
    if isinstance(value, str):
        return HIDDEN if looks_secret(value) else value
    kind: Any = type(value)
    fields = _fields_of(kind)
    if fields is None or _is_plain(value):
        return value
    if id(value) in parents:
        return circle or value
    inner = {**parents, id(value): value}
    before = fields(value)
    after = {name: _field(name, item, inner, circle) for name, item in before.items()}
    changed = {name: item for name, item in after.items() if item is not before[name]}
    return _with(value, changed) if changed else value


def _is_plain(value: Any) -> bool:
    """Return whether it is a sequence of values without fields, such as numbers or models."""
    if not isinstance(value, list | tuple) or hasattr(value, "_fields"):
        return False
    kinds: set[Any] = set(map(type, value))
    return not any(issubclass(kind, str) or _fields_of(kind) for kind in kinds)


def _field(name: Any, value: Any, parents: Mapping[int, Any], circle: Any) -> Any:
    is_secret = isinstance(name, str) and is_secret_name(name)
    if is_secret and value is not None and not isinstance(value, bool):
        return HIDDEN
    return _hide(value, parents, circle)


@lru_cache(maxsize=1024)
def _fields_of(kind: Any) -> Callable[[Any], Fields] | None:
    """Return the function that gives the fields of a kind of container; None for other values."""
    if hasattr(kind, "_sa_class_manager") or issubclass(kind, sa.Row):
        return None  # A copy of a mapped object would share its state.
    if issubclass(kind, Mapping):
        return dict
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return lambda value: dict(zip(kind._fields, value, strict=False))
    if issubclass(kind, list | tuple | set | frozenset):
        return _items
    if issubclass(kind, SimpleNamespace):
        return vars
    if names := _names(kind):
        return lambda value: {name: getattr(value, name) for name in names if hasattr(value, name)}
    return None


def _items(values: Iterable[Any]) -> Fields:
    return dict(enumerate(values))


def _names(kind: type) -> list[str]:
    """Return the fields of a dataclass or of a class of attrs that its representation shows."""
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind) if field.repr]
    return [field.name for field in getattr(kind, "__attrs_attrs__", ()) if field.repr]


def _with(value: Any, changed: Fields) -> Any:
    """Return a copy of a container with other values in these fields."""
    if isinstance(value, tuple) and hasattr(value, "_replace"):
        return value._replace(**changed)
    if isinstance(value, list | tuple | set | frozenset):
        items = [changed.get(place, item) for place, item in enumerate(value)]
        return type(value)(items) if type(value) in _BUILT_IN else items
    if isinstance(value, Mapping) and not isinstance(value, dict):
        return {**value, **changed}
    other = copy.copy(value)
    for name, item in changed.items():
        if isinstance(value, dict):
            other[name] = item
        else:
            object.__setattr__(other, name, item)  # It may be frozen.
    return other


_BUILT_IN = (list, tuple, set, frozenset)
