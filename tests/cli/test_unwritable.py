"""Answers that cannot be written: full devices, readers that left, streams that are closed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.cli.conftest import expect, expect_json
from tests.support import FLASK, Database, Result


def to_full_device(database: Database, *args: str) -> Result:
    """Run a command whose stdout cannot be written."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [FLASK, *args],
            env=database.environ,
            cwd=database.instance,
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    return Result(done.returncode, "", done.stderr)


def test_unwritable_output_is_74_and_says_that_the_work_is_done(database: Database) -> None:
    message = (
        "the output could not be written (No space left on device);"
        " the change is made, audit event 3"
    )
    result = to_full_device(database, "roles", "create", "support")
    expect(result, 74, stderr=f"Error: {message}\n")
    message = message.replace("event 3", "event 4")
    result = to_full_device(database, "roles", "create", "other", "--format", "json")
    expect_json(result, "output-failed", 74, message, None)
    assert database.rows("SELECT count(*) FROM ops_roles") == [(3,)]


def test_unwritable_output_is_74_and_says_that_nothing_was_changed(database: Database) -> None:
    message = "the output could not be written (No space left on device); nothing was changed"
    expect(to_full_device(database, "roles", "list"), 74, stderr=f"Error: {message}\n")


def test_reader_that_left_is_141_without_a_word(database: Database) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as pipe:
        done = subprocess.run(
            [FLASK, "roles", "list"],
            env=database.environ,
            cwd=database.instance,
            stdin=subprocess.DEVNULL,
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (141, "")


def shell(database: Database, line: str) -> tuple[int, str, str]:
    """Run a line of shell, for what happens to file descriptors."""
    done = subprocess.run(
        ["/bin/sh", "-c", line.replace("flask", FLASK)],
        env=database.environ,
        cwd=database.instance,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("flask roles list >&-", (74, "", "Error: stdout is closed; nothing was changed\n")),
        (
            "flask roles create one >&-",
            (74, "", "Error: stdout is closed; the change is made, audit event 3\n"),
        ),
        ("flask roles create two -q 2>&-", (0, "two\n", "")),
        ("flask users show nobody 2>&-", (4, "", "")),
        (
            "flask users create a@example.com --password-stdin <&-",
            (2, "", "Error: the first line of stdin is empty\n"),
        ),
        ("flask roles grant admin - <&-", (2, "", "Error: no users on stdin\n")),
        (
            "flask users --help >/dev/full",
            (74, "", "Error: the output could not be written (No space left on device)\n"),
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_closed_stream_changes_neither_the_code_nor_the_truth(
    database: Database, line: str, expected: tuple[int, str, str]
) -> None:
    assert shell(database, line) == expected
