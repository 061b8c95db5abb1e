"""The search for secrets finds one in each place that it looks at."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from tests.support import PASSWORD, SECRETS, Database, Result, canaries

TOKEN = "opsapp_" + "t" * 43


def stored_hash(database: Database) -> str:
    return str(database.rows("SELECT password FROM ops_users WHERE id = 1")[0][0])


@pytest.mark.parametrize("secret", [PASSWORD, SECRETS["SECRET_KEY"], "hash", "key", TOKEN])
def test_secret_in_a_log_is_found(database: Database, ada: str, secret: str) -> None:
    if secret == "hash":
        secret = stored_hash(database)
    if secret == "key":
        secret = (database.instance / "secrets" / "opsapp_audit_key").read_text().strip()
    assert canaries.leaks(database) == []
    log = database.instance / "logs" / "app.log"
    log.parent.mkdir()
    log.write_text(f"the password is {secret}!")
    assert canaries.leaks(database) == [f"{log}: {secret}"]
    log.unlink()


def test_secret_that_a_command_prints_is_found(database: Database, ada: str) -> None:
    hash = stored_hash(database)
    Result(0, f"password\t{hash}\n", "")
    Result(1, "", f"Error: {PASSWORD} is wrong\n")
    assert sorted(canaries.leaks(database)) == sorted(
        f"what a command printed: {secret}" for secret in (hash, PASSWORD)
    )
    assert canaries.leaks(database) == []


@pytest.mark.parametrize("secret", [PASSWORD, TOKEN])
def test_secret_in_a_table_is_found(
    database: Database, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    real = canaries._rows

    def rows(connection: Any, query: str) -> list[tuple[Any, ...]]:
        added = [(1, secret)] if query == "SELECT * FROM ops_job_output" else []
        return [*real(connection, query), *added]

    with monkeypatch.context() as patch:  # A row that is deleted would stay in the file.
        patch.setattr(canaries, "_rows", rows)
        assert canaries.leaks(database) == [f"ops_job_output: {secret}"]


def test_process_with_a_secret_among_its_arguments_is_not_started() -> None:
    with pytest.raises(AssertionError, match="a secret is among the arguments of"):
        subprocess.run(["/bin/true", f"--password={PASSWORD}"], check=True)
