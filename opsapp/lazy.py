"""Lazy exports: a package's public names, imported when they are asked for (PEP 562)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any


def exports(package: str, **modules: Sequence[str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` of ``package``.

    :param modules: the public modules of the package, with the names that each gives to it.
    """
    homes = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        if name in modules:
            return import_module(f"{package}.{name}")
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
