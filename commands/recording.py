"""Each command is recorded for `flask profile`, as requests are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Flask


def record(app: Flask, words: str) -> Callable[[int], None]:
    """Begin to record the command of these words; what ends it takes the exit code."""
    from opsapp.profiling import recorder_of

    recorder = recorder_of(app)
    if recorder is None:
        return lambda _code: None
    recording = recorder.begin(words)
    return lambda code: recorder.end(recording, code)
