"""`flask doctor`: settings, secrets and the modes of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import Cli, Database, call
from tests.support.findings import findings


def test_doctor_finds_an_address_without_tls(database: Database) -> None:
    environ = {"OPSAPP_ENV": "production", "OPSAPP_URL": "http://ops.example.com"}
    result = findings(call(database, "doctor", "--format", "json", **environ))
    assert result["setting OPSAPP_URL"][0] == "warn"


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("OPSAPP_DATABSE_URL", "did you mean OPSAPP_DATABASE_URL?"),
        ("OPSAPP_AUDIT_KEY_FLIE", "did you mean OPSAPP_AUDIT_KEY_FILE?"),
        ("OPSAPP_XYZZY", "flask doctor --settings"),
    ],
)
def test_doctor_finds_a_setting_that_is_none(
    cli: Cli, ada: str, name: str, advice: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "sqlite:////srv/opsapp.sqlite")
    monkeypatch.setenv("OPSAPP_JOB_RUN", "12")  # A job is told.
    result = cli("doctor", "--format", "json")
    assert findings(result) == {"setting names": ("warn", f"{name} is no setting", advice)}


def test_doctor_finds_several_settings_that_are_none(
    cli: Cli, ada: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPSAPP_URI", "OPSAPP_DATABASE_URL_FILE"):
        monkeypatch.setenv(name, "x")
    result = findings(cli("doctor", "--format", "json"))
    assert result["setting names"][1] == "OPSAPP_DATABASE_URL_FILE, OPSAPP_URI are no settings"
    listing = cli("doctor", "--settings", "--format", "json").json
    [row] = [row for row in listing if row["name"] == "OPSAPP_READONLY_DATABASE_URL"]
    assert row["source"] == "default"


@pytest.mark.parametrize("name", ["prod", "PRODUCTION", "Live", "production "])
def test_doctor_finds_a_production_that_is_not_called_so(database: Database, name: str) -> None:
    result = findings(call(database, "doctor", "--format", "json", OPSAPP_ENV=name))
    assert result["setting OPSAPP_ENV"] == (
        "warn",
        f"{name} is not production: severe changes ask for no more than --yes",
        "OPSAPP_ENV=production, if that is meant",
    )


@pytest.mark.parametrize("name", ["production", "preproduction", "staging"])
def test_doctor_takes_an_environment_by_its_name(database: Database, name: str) -> None:
    result = findings(call(database, "doctor", "--format", "json", OPSAPP_ENV=name))
    assert "setting OPSAPP_ENV" not in result


@pytest.mark.parametrize("name", ["console.toml", "jobs.toml"])
@pytest.mark.parametrize(("mode", "folder"), [(0o664, 0o755), (0o602, 0o755), (0o644, 0o777)])
def test_doctor_finds_files_that_others_can_write(
    cli: Cli, database: Database, name: str, mode: int, folder: int
) -> None:
    path = database.instance / name
    path.write_text("")
    path.chmod(mode)
    database.instance.chmod(folder)
    way = path if mode != 0o644 else database.instance
    writers = findings(cli("doctor", "--format", "json"))["file writers"]
    assert writers == ("fail", f"others can write {path}", f"chmod go-w {way}")
    database.instance.chmod(0o1777)
    path.chmod(0o644)
    assert "file writers" not in findings(cli("doctor", "--format", "json"))


@pytest.mark.parametrize(
    ("name", "mode", "is_found"),
    [("SECRET_KEY", 0o644, True), ("MAIL_PASSWORD", 0o604, True), ("SECRET_KEY", 0o640, False)],
)
def test_doctor_finds_secrets_from_files_that_others_can_read(
    cli: Cli,
    ada: str,
    tmp_path: Path,
    name: str,
    mode: int,
    is_found: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    file = tmp_path / "secret"
    file.write_text("q8Zt4vRk2Lw9XbN7cJ5hM3pF6sD1gA0yE")
    file.chmod(mode)
    monkeypatch.setenv(f"{name}_FILE", str(file))
    result = findings(cli("doctor", "--format", "json"))
    expected = ("warn", f"others can read {file}", f"chmod o= {file}")
    assert result == ({"secret files": expected} if is_found else {})


def test_doctor_counts_no_secret_file_that_is_away(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_KEY_FILE", "/nowhere/at.all")
    rows = {row["check"]: row["state"] for row in cli("doctor", "--format", "json").json}
    assert rows["setting SECRET_KEY"] == "fail"
    assert "secret files" not in rows


def test_doctor_passes_over_a_file_that_has_just_gone(
    cli: Cli, database: Database, ada: str
) -> None:
    (database.instance / "gone").symlink_to(database.instance / "not-there")
    assert cli("doctor").exit_code == 0


def test_doctor_finds_files_that_others_can_read(cli: Cli, database: Database, ada: str) -> None:
    secret = database.instance / "secrets" / "secret_key"
    for path in (database.instance, secret.parent):
        path.chmod(0o755)
    secret.chmod(0o644)
    result = cli("doctor", "--format", "json")
    assert findings(result) == {
        "file modes": ("fail", f"others can read {secret}", f"chmod 600 {secret}")
    }
    for name in ("a", "b", "c"):
        (secret.parent / name).touch()
        (secret.parent / name).chmod(0o644)
    _state, message, _advice = findings(cli("doctor", "--format", "json"))["file modes"]
    assert message.count(", ") == 2
    assert message.endswith(" and 1 more")


def test_doctor_passes_over_open_files_in_a_closed_folder(
    cli: Cli, database: Database, ada: str
) -> None:
    folder = database.instance / "metrics"
    folder.mkdir(mode=0o755)
    (folder / "counter_1.db").touch(mode=0o644)
    for instance, metrics, code in ((0o755, 0o700, 0), (0o700, 0o755, 0), (0o755, 0o755, 6)):
        database.instance.chmod(instance)
        folder.chmod(metrics)
        assert cli("doctor").exit_code == code


def test_doctor_fails_on_the_debugger_outside_development(database: Database) -> None:
    for environment, state in (("staging", "fail"), ("development", None)):
        environ = {"OPSAPP_ENV": environment, "FLASK_DEBUG": "1"}
        result = call(database, "doctor", "--format", "json", **environ)
        states = {row["check"]: row["state"] for row in result.json}
        assert states.get("setting FLASK_DEBUG") == state


@pytest.mark.parametrize("closed", ["", "metrics"])
def test_doctor_knows_that_a_closed_folder_keeps_others_out(
    cli: Cli, database: Database, ada: str, closed: str
) -> None:
    for path in (database.instance, database.instance / "metrics"):
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
    (database.instance / closed).chmod(0o700)
    for name in ("console.toml", "jobs.toml", "metrics/.lock", "metrics/counter_1.db"):
        (database.instance / name).touch(0o644)
        (database.instance / name).chmod(0o644)
    rows = cli("doctor", "--format", "json").json
    assert [row["state"] for row in rows if row["check"] == "file modes"] == ["ok"]


def test_doctor_without_secrets_in_production_names_each(database: Database) -> None:
    result = call(database, "doctor", "--format", "json", OPSAPP_ENV="production")
    assert result.exit_code == 6
    missing = [check for check in findings(result) if check.startswith("setting")]
    names = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY", "OPSAPP_URL")
    assert sorted(missing) == sorted(f"setting {name}" for name in names)
    assert findings(result)["application"][0] == "fail"
    # The worst stand last, where an operator at a terminal looks.
    states = [row["state"] for row in result.json]
    assert states == sorted(states, key=["ok", "warn", "fail"].index)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("short", "SECRET_KEY is 5 bytes long; 32 are needed"),
        ("ab" * 40, "SECRET_KEY repeats a few characters; it must be random"),
    ],
)
def test_doctor_finds_a_weak_secret(database: Database, value: str, message: str) -> None:
    result = call(database, "doctor", "--format", "json", OPSAPP_ENV="production", SECRET_KEY=value)
    assert findings(result)["setting SECRET_KEY"][1] == message
    assert value not in result.stdout


def test_settings_fit_in_a_table(database: Database) -> None:
    for format in ("table", "plain", "csv"):
        result = call(database, "doctor", "--settings", "--format", format)
        assert result.exit_code == 0
        assert "OPSAPP_DATABASE_URL" in result.stdout


def test_settings_are_listed_with_their_source_and_no_secret(database: Database) -> None:
    result = call(database, "doctor", "--settings", "--format", "json", SECRET_KEY="canary-" * 8)
    rows = {row["name"]: row for row in result.json}
    assert result.exit_code == 0
    assert (rows["SECRET_KEY"]["value"], rows["SECRET_KEY"]["source"]) == ("•••", "environment")
    assert rows["OPSAPP_INSTANCE"]["value"] == str(database.instance)
    assert rows["OPSAPP_FORMAT"]["source"] == "default"
    assert "canary" not in result.stdout
