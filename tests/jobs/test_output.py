"""The output of a command: nothing is lost between its end and the reading of its pipe."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from opsapp.jobs import output
from tests.support.processes import until


def test_last_words_are_awaited_after_a_long_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    clock = SimpleNamespace(monotonic=lambda: 100.0)
    monkeypatch.setattr(output, "time", clock)
    heard: list[bytes] = []
    pump = output.Pump(os.fdopen(reader, "rb"), output.Tail([]), heard.append)
    pump.start()
    until(lambda: pump._reading_since == 100.0)
    clock.monotonic = lambda: 110.0  # The command ends now, and was silent for long.
    assert not pump.is_through(110.0)
    os.write(writer, b"last words\n")
    until(lambda: heard)
    clock.monotonic = lambda: 110.0 + output.REST + 0.1
    assert pump.is_through(110.0)
    os.close(writer)
    pump.join()
    assert heard == [b"last words\n"]
