"""`opsapp`, the program that is `flask --app opsapp`."""

from __future__ import annotations

import json
import sys

import pytest

from opsapp import entrypoints
from opsapp.version import __version__


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> object:
    monkeypatch.setattr(sys, "argv", ["opsapp", *words])
    monkeypatch.setenv("FLASK_APP", "opsapp")
    try:
        entrypoints.main()
    except SystemExit as ended:
        return ended.code
    return 0


def test_version_is_that_of_opsapp(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"opsapp {__version__}\n"


def test_help_says_how_to_begin(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(entrypoints._flask_group(), "help", None)
    assert run(monkeypatch, "--help") == 0
    usage, _, help = capsys.readouterr().out.partition("\n\n")
    assert usage == "Usage: opsapp [OPTIONS] COMMAND [ARGS]..."
    assert help.startswith("  Manage an application: its users, roles, database, jobs and audit.\n")
    assert "\n    opsapp db init\n" in help


def test_command_that_is_not_there_is_one_json_object(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "nosuch", "--format", "json") == 2
    printed = capsys.readouterr()
    assert (printed.out, json.loads(printed.err)["exit_code"]) == ("", 2)
