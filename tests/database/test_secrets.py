"""A secret that is not the database's: every door names the same one."""

from __future__ import annotations

import pytest

import opsapp
from tests.support import Cli, Database

OTHER = "another-secret-q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE"
MESSAGES = {
    "OPSAPP_AUDIT_KEY": ("OPSAPP_AUDIT_KEY does not match the key of this database's audit log"),
    "SECURITY_PASSWORD_SALT": (
        "SECURITY_PASSWORD_SALT does not match the one this database was created with"
    ),
}


@pytest.mark.parametrize("secret", MESSAGES)
def test_every_door_names_the_secret_of_another_database(
    secret: str, cli: Cli, database: Database, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {secret: OTHER}
    for args in (("db", "init"), ("audit", "verify"), ("roles", "create", "other")):
        done = cli(*args, **wrong)
        assert (done.exit_code, done.stdout, done.stderr) == (
            7,
            "",
            f"Error: {MESSAGES[secret]}\n  → flask doctor --settings\n",
        )
    status = cli("db", "status", "--format", "json", **wrong)
    assert (status.exit_code, status.json["ready"]) == (6, False)
    assert status.json["because"] == MESSAGES[secret]
    findings = cli("doctor", "--format", "json", **wrong).json
    assert MESSAGES[secret] in {row["says"] for row in findings if row["state"] == "fail"}
    monkeypatch.setenv(secret, OTHER)
    page = opsapp.create_app().test_client().get("/readyz")
    assert (page.status_code, page.get_json()) == (
        503,
        {"status": "not ready", "because": MESSAGES[secret]},
    )


def test_another_secret_key_ends_sessions_and_leaves_the_database_ready(
    cli: Cli, database: Database, ada: str
) -> None:
    other = {"SECRET_KEY": OTHER}
    status = cli("db", "status", "--format", "json", **other)
    assert (status.exit_code, status.json["ready"], status.json["because"]) == (0, True, None)
    assert cli("audit", "verify", "--state", **other).exit_code == 0


def test_database_without_its_built_in_role_is_ready_by_no_door(
    cli: Cli, database: Database, ada: str
) -> None:
    database.execute("UPDATE ops_roles SET deleted_at = created_at WHERE name = 'admin'")
    status = cli("db", "status", "--format", "json")
    assert (status.exit_code, status.json["because"]) == (6, "no role admin")
    page = opsapp.create_app().test_client().get("/readyz")
    assert (page.status_code, page.get_json()["because"]) == (503, "not-found")
