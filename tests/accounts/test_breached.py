"""Stolen passwords: found in a file of any length, and refused from every source."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from opsapp.accounts import breached
from opsapp.errors import NotReady
from tests.support import Cli

STOLEN = "quartz ferret lantern 9"
HINT = "  → haveibeenpwned-downloader makes such a file; docs/web.md\n"


def line_of(password: str, count: str = ":17") -> str:
    return hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper() + count


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list with Windows' line ends, as its program writes it there."""
    file = tmp_path / "pwned.txt"
    lines = sorted(line_of(password) for password in [STOLEN, *map(str, range(50))])
    file.write_text("\r\n".join(lines))
    return file


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
@pytest.mark.parametrize(("suffix", "end"), [(":3", "\n"), ("", "\r\n"), (":12345678", "")])
def test_each_line_of_a_list_is_found_and_nothing_else(
    tmp_path: Path, count: int, suffix: str, end: str
) -> None:
    file = tmp_path / "list"
    passwords = [f"password {number}" for number in range(count)]
    file.write_text("\n".join(sorted(line_of(each, suffix) for each in passwords)) + end)
    assert all(breached.contains(file, each) for each in passwords)
    assert not any(breached.contains(file, f"{each}!") for each in passwords)
    assert breached.check(file) == f"{file} is a sorted list of 0.0 MiB"


def test_stolen_password_is_refused_from_every_source(
    cli: Cli, ada: str, listed: Path, tmp_path: Path
) -> None:
    own = {"OPSAPP_BREACHED_PASSWORDS": str(listed)}
    words = ("users", "set-password", ada)
    refused = (2, "", "Error: password: This password is in a list of stolen passwords.\n")
    done = cli(*words, "--password-stdin", stdin=f"{STOLEN}\n", **own)
    assert (done.exit_code, done.stdout, done.stderr) == refused
    file = tmp_path / "password"
    file.write_text(STOLEN)
    file.chmod(0o600)
    done = cli(*words, "--password-file", str(file), **own)
    assert (done.exit_code, done.stdout, done.stderr) == refused
    assert cli(*words, "--password-stdin", stdin=f"{STOLEN}8\n", **own).exit_code == 0
    assert cli(*words, "--password-stdin", stdin=f"{STOLEN}\n").exit_code == 0


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "it is empty"),
        ("secret\nwords\n", "it has a line that is no SHA-1 hash"),
        ("\n".join([line_of("b"), line_of("a")]), "its lines are not sorted"),
        (None, "No such file or directory"),
    ],
    ids=["empty", "words", "unsorted", "missing"],
)
def test_list_that_cannot_be_used_is_named(
    cli: Cli, ada: str, tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "list"
    if content is not None:
        file.write_text(content)
    with pytest.raises(NotReady, match=why):
        breached.check(file)
    own = {"OPSAPP_BREACHED_PASSWORDS": str(file)}
    rows = cli("doctor", "--format", "json", **own).json
    [row] = [row for row in rows if row["check"] == "breached"]
    message = f"OPSAPP_BREACHED_PASSWORDS {file} cannot be used: {why}"
    assert (row["state"], row["says"]) == ("fail", message)
    if why != "its lines are not sorted":
        words = ("users", "set-password", ada, "--password-stdin")
        done = cli(*words, stdin=f"{STOLEN}\n", **own)
        assert (done.exit_code, done.stdout, done.stderr) == (7, "", f"Error: {message}\n{HINT}")
