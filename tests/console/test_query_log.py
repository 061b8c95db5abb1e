"""What an input sent: all of it counted and timed, what repeats hinted at."""

from __future__ import annotations

import pytest
from flask import Flask

from opsapp.console import query_log
from opsapp.console.query_log import Queries, Report, Sent
from opsapp.extensions import db


def test_report_has_the_time_of_statements_that_are_not_kept(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(query_log, "AT_MOST", 1)
    report = Queries([db.engine], db.session()).current
    for _ in range(2):
        db.session.execute(db.text("SELECT 1"))
    assert (report.count, len(report.sent)) == (2, 1)
    assert report.milliseconds > report.sent[0].milliseconds


def test_hint_has_the_time_of_its_own_relationship() -> None:
    sent = [Sent("SELECT a", 1.0, "Order.items")] * 5 + [Sent("SELECT a", 10.0, None)] * 5
    first, second = Report(sent, count=10).hints()
    assert first.startswith("5 times, 5.0 ms: SELECT a… load it with the others")
    assert second.startswith("5 times, 50.0 ms: SELECT a… ask once")
