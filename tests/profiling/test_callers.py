"""Which line of the application sent a statement."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from opsapp.profiling.record.callers import Callers, Statement

STATEMENT = "SELECT 1"


@pytest.fixture
def send() -> Callable[[int], Statement]:
    """Ask who sends a statement, below so many frames of a library."""
    names: dict[str, Any] = {"nearest": Callers(frozenset()).nearest}
    code = f"def send(n): return send(n - 1) if n else nearest({STATEMENT!r})"
    exec(compile(code, "<library>", "exec"), names)  # noqa: S102
    found: Callable[[int], Statement] = names["send"]
    return found


def test_nearest_function_is_found_again(send: Callable[[int], Statement]) -> None:
    first, second = (send(3) for _ in "ab")
    assert first is second
    assert (first[0], first[1] and first[1].text.rpartition(".")[2]) == (STATEMENT, "<genexpr>")


def test_nearest_function_is_found_where_another_is_as_far_away(
    send: Callable[[int], Statement],
) -> None:
    def near() -> Statement:
        return send(1)

    def far() -> Statement:
        return near()

    send(3)
    _text, place, _instruction = far()
    assert place is not None
    assert place.code is near.__code__
