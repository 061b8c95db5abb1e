"""Each command is recorded for `flask profile`, as requests are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from flask import Flask


def record(app: Flask, ctx: click.Context) -> Callable[[int], None]:
    """Begin to record the command; what ends it takes the exit code."""
    from opsapp.profiling import recorder_of

    recorder = recorder_of(app)
    if recorder is None:
        return lambda _code: None
    recording = recorder.begin(_words_of(ctx))
    return lambda code: recorder.end(recording, code)


def _words_of(ctx: click.Context) -> str:
    """``users list``, however `flask` itself was started."""
    words: list[str] = []
    while ctx.parent is not None:
        words.insert(0, ctx.info_name or "")
        ctx = ctx.parent
    return " ".join(words)
