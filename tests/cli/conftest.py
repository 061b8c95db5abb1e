"""Expectations of a command's code, stdout and stderr."""

from __future__ import annotations

import json

from tests.support import Result


def expect(result: Result, exit_code: int, *, stdout: str = "", stderr: str = "") -> None:
    """The exit code and both streams are exactly these."""
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, stdout, stderr)


def expect_json(result: Result, code: str, exit_code: int, message: str, hint: str | None) -> None:
    """The same error with a JSON format: one object on stderr, and nothing on stdout."""
    expected = {"code": code, "message": message, "hint": hint, "exit_code": exit_code}
    assert result.stdout == ""
    assert json.loads(result.stderr) == expected
    assert result.exit_code == exit_code
    assert result.stderr.count("\n") == 1
