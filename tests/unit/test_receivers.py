"""Witnesses and receivers of a unit: told at their time, and able to undo the change."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from flask import Flask
from sqlalchemy import exc

from opsapp import signals
from opsapp.engine.connections import SANDBOX
from opsapp.errors import OpsError
from opsapp.extensions import db
from opsapp.models import AuditEvent
from opsapp.unit import ledger
from opsapp.unit.work import Unit
from tests.support import OPERATOR, a_unit
from tests.unit.conftest import place_order, subjects


def test_witness_sees_the_end_of_the_chain_before_the_commit(app: Flask) -> None:
    seen: list[tuple[int, str, bool]] = []
    unit = a_unit()

    def witness(head: ledger.Head) -> None:
        seen.append((head.seq, head.hash, unit.committed))

    with unit:
        unit.attest(witness)
        unit.record("shop:order:place", "order:3")
    hash = db.session.scalars(sa.select(AuditEvent.hash).where(AuditEvent.seq == 3)).one()
    assert seen == [(3, hash, False)]
    for quiet in (a_unit(dry_run=True), a_unit()):
        with quiet:
            quiet.attest(witness)
            if quiet.dry_run:
                quiet.record("shop:order:place", "order:3")
    assert len(seen) == 1


def test_witness_that_raises_undoes_the_change(app: Flask) -> None:
    def fail(_head: ledger.Head) -> None:
        raise OpsError("the disk is full")

    def change(unit: Unit) -> None:
        with unit:
            unit.attest(fail)
            unit.settle(settled.append)
            unit.record("shop:order:place", "order:3")

    unit, settled = a_unit(), list[bool]()
    with pytest.raises(OpsError, match="the disk is full"):
        change(unit)
    assert (unit.committed, settled, subjects()) == (False, [False], [])


def test_what_settles_is_called_in_reverse_and_once(app: Flask) -> None:
    calls: list[tuple[str, bool]] = []
    with a_unit() as unit:
        unit.settle(lambda committed: calls.append(("first", committed)))
        unit.settle(lambda committed: calls.append(("second", committed)))
        unit.record("shop:order:place", "order:3")
    assert calls == [("second", True), ("first", True)]


@pytest.fixture
def twin(app: Flask) -> Iterator[list[dict[str, Any]]]:
    """Return the arguments of the receiver before the commit; it raises ``app.fails``."""
    heard: list[dict[str, Any]] = []

    def receive(_app: Flask, **payload: Any) -> None:
        assert _app is app
        heard.append(payload)
        if payload.get("fails"):
            raise payload["fails"]

    with signals.before_commit(signals.user_updated).connected_to(receive, app):
        yield heard


def announce(unit: Unit, **payload: Any) -> None:
    with unit:
        unit.record("shop:order:place", "order:3")
        unit.announce(signals.user_updated, user_id=1, **payload)


def test_receivers_are_told_before_and_after_the_commit(
    app: Flask, twin: list[dict[str, Any]]
) -> None:
    unit, heard = a_unit(), list[tuple[str, bool, dict[str, Any]]]()
    for signal in (signals.user_updated, signals.all_announced):

        def receive(_app: Flask, *, name: str = signal.name, **payload: Any) -> None:
            assert _app is app
            heard.append((name, unit.committed, payload))

        signal.connect(receive, app, weak=False)
    try:
        announce(unit)
        announce(a_unit(dry_run=True))
        place_order(a_unit())
    finally:
        for signal in (signals.user_updated, signals.all_announced):
            for receiver in list(signal.receivers_for(app)):
                signal.disconnect(receiver, app)
    by = {"actor": OPERATOR, "correlation": unit.correlation}
    assert twin == [{**by, "user_id": 1}]
    assert heard == [
        ("user-updated", True, {**by, "user_id": 1}),
        ("all-announced", True, by),
    ]


@pytest.mark.parametrize(
    "error", [OpsError("no mail"), exc.OperationalError("INSERT", {}, Exception("no mail"))]
)
def test_receiver_before_the_commit_undoes_the_change_by_its_error(
    app: Flask, twin: list[dict[str, Any]], error: Exception
) -> None:
    unit = a_unit()
    with pytest.raises(type(error), match="no mail"):
        announce(unit, fails=error)
    assert (unit.committed, subjects()) == (False, [])


def test_receiver_before_the_commit_that_is_broken_is_logged(
    app: Flask, twin: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        announce(a_unit(), fails=KeyError("broken"))
    assert "a receiver of the signal user-updated failed" in caplog.text
    assert subjects() == ["order:3"]


def test_sandbox_commits_nothing_that_is_told(app: Flask, twin: list[dict[str, Any]]) -> None:
    db.engine.update_execution_options(**{SANDBOX: True})
    heard: list[Any] = []
    unit, settled, witnessed = a_unit(), list[bool](), list[object]()
    with signals.user_updated.connected_to(lambda *args, **_extra: heard.append(args), app), unit:
        assert unit._head is None
        unit.settle(settled.append)
        unit.attest(witnessed.append)
        unit.record("shop:order:place", "order:3")
        unit.announce(signals.user_updated, user_id=1)
    assert (unit.committed, unit.seq, unit.events) == (True, None, range(0))
    assert (settled, witnessed, twin, heard, subjects()) == ([False], [], [], [], [])
