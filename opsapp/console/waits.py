"""Waits: time that an input spends waiting for its user does not count as the command's."""

from __future__ import annotations

import builtins
import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from ..profiling.record.recording import waiting

_QUESTIONS: tuple[tuple[Any, str], ...] = ((builtins, "input"), (getpass, "getpass"))


@contextmanager
def for_user() -> Iterator[None]:
    """Leave the time of ``input()`` and ``getpass()`` out of the recording."""
    before = [getattr(module, name) for module, name in _QUESTIONS]
    for module, name in _QUESTIONS:
        setattr(module, name, _count_as_wait(getattr(module, name)))
    try:
        yield
    finally:
        for (module, name), question in zip(_QUESTIONS, before, strict=True):
            setattr(module, name, question)


def _count_as_wait(question: Callable[..., str]) -> Callable[..., str]:
    @wraps(question)
    def ask(*args: Any, **options: Any) -> str:
        with waiting():
            return question(*args, **options)

    return ask
