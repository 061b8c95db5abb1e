"""Receipts: there if and only if their change is committed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from opsapp import clock
from opsapp.errors import Conflict, OpsError
from opsapp.unit import chain, ledger
from opsapp.unit.receipts import Receipt, authorship
from opsapp.unit.work import Unit
from tests.support import OPERATOR, a_unit

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def place_order(unit: Unit, file: str | None, **record: Any) -> None:
    with Receipt(file) as receipt, unit:
        assert receipt._file == (file or "")
        unit.record("shop:order:place", "order:3")
        unit.record("shop:order:pay", "order:3")
        receipt.write(record, unit)


def test_receipt_says_what_was_done_and_where_the_audit_has_it(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "now", lambda: AT)
    unit, file = a_unit(), tmp_path / "receipt"
    place_order(unit, str(file), order=3, until=AT, path=Path("é"))
    words = file.read_text(encoding="utf-8")
    content = json.loads(words)
    checkpoint = content.pop("checkpoint")
    assert content == {
        "order": 3,
        "until": "2026-01-02T03:04:05Z",
        "path": "é",
        "at": "2026-01-02T03:04:05Z",
        "events": [3, 4],
    }
    assert list(content) == ["order", "until", "path", "at", "events"]
    assert words == json.dumps({**content, "checkpoint": checkpoint}, indent=2) + "\n"
    point = chain.Checkpoint.parse(checkpoint, ledger.audit_key())
    head = ledger.read_head(unit.session)
    assert head is not None
    assert (point.seq, point.hash) == (4, head.hash)
    assert (unit.committed, [path.name for path in tmp_path.iterdir() if path.is_file()]) == (
        True,
        ["receipt"],
    )


def test_change_that_is_not_made_leaves_no_receipt(app: Flask, tmp_path: Path) -> None:
    def fail() -> None:
        with Receipt(str(tmp_path / "receipt")) as receipt, a_unit() as unit:
            unit.record("shop:order:place", "order:3")
            receipt.write({}, unit)
            raise KeyError

    place_order(a_unit(dry_run=True), str(tmp_path / "receipt"))
    with pytest.raises(KeyError):
        fail()
    with Receipt(str(tmp_path / "receipt")):
        assert (tmp_path / ".receipt.part").exists()
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_receipt_without_a_file_writes_nothing(app: Flask) -> None:
    unit = a_unit()
    place_order(unit, None)
    assert (unit.committed, unit._settlements, unit._witnesses) == (True, [], [])


def test_receipt_replaces_no_file(tmp_path: Path) -> None:
    file = tmp_path / "receipt"
    file.write_text("kept")
    with pytest.raises(Conflict) as raised:
        Receipt(str(file))
    assert (raised.value.message, raised.value.hint) == (
        f"{file} exists already",
        "name a new file",
    )
    assert file.read_text() == "kept"


@pytest.mark.parametrize("call", ["write_to_disk", "settle"])
def test_receipt_that_cannot_be_written_is_named(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"opsapp.files.drafts.Draft.{call}", fail)
    unit, file = a_unit(), tmp_path / "receipt"
    with pytest.raises(OpsError) as raised:
        place_order(unit, str(file))
    assert raised.value.message == f"{file} cannot be written: No space left on device"
    # The file takes its place after the commit; what is in it is on the disk before.
    assert unit.committed is (call == "settle")


def test_authorship_is_of_the_unit() -> None:
    unit = a_unit(reason="why")
    assert authorship(unit) == {
        "actor": OPERATOR.label(),
        "reason": "why",
        "correlation": unit.correlation,
    }
