"""`flask users import`: passwords, plans, progress, and imports that were stopped."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from opsapp import signals
from opsapp.accounts import passwords
from opsapp.accounts.transfer import batches, hashing, importing
from opsapp.accounts.transfer.importing import Options, Report, import_file
from opsapp.cli import progress
from opsapp.cli.process_signals import Stopped
from opsapp.errors import Busy, Conflict, Refused
from tests.support import PASSWORD, Cli, Database, a_unit, call, run
from tests.support.processes import ended, start_work

HOLDS = "the chain holds, and the tables match it"


@pytest.fixture
def people(database: Database) -> Path:
    """The path of a file to import."""
    return database.instance.parent / "people.csv"


def emails(database: Database) -> list[str]:
    rows = database.rows("SELECT email FROM ops_users ORDER BY id")
    return [str(email) for (email,) in rows]


def verified(cli: Cli) -> bool:
    return bool(cli("audit", "verify", "--state", "--format", "json").json["says"] == HOLDS)


# --- passwords ---------------------------------------------------------------


def test_import_hashes_plain_passwords_by_the_policy_before_the_gate(
    app: Flask, cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.write_text(
        f"email,password\na@example.com,{PASSWORD}\nb@example.com,hunter2\n"
        f"c@example.com,{PASSWORD * 2}\n"
    )
    monkeypatch.setattr(progress, "LOG_SECONDS", 3600)
    monkeypatch.setattr(hashing, "hash_all", _without_gate(database, hashing.hash_all))
    args = ("users", "import", str(people), "--hash-passwords", "--on-error", "skip")
    done = cli(*args)
    assert (done.exit_code, done.stderr) == (
        6,
        "Line 3, column password: A password must have at least 12 characters.\n"
        "Done, audit event 4.\n",
    )
    stored = dict(database.rows("SELECT email, password FROM ops_users"))
    assert passwords.matches(PASSWORD, stored["a@example.com"])
    assert passwords.matches(PASSWORD * 2, stored["c@example.com"])
    again = cli(*args, "--on-conflict", "update", "--again", "--format", "json")
    assert (again.exit_code, again.json["unchanged"]) == (6, 2)
    assert dict(database.rows("SELECT email, password FROM ops_users")) == stored
    assert verified(cli)


def _without_gate(database: Database, hash_all: Any) -> Any:
    """Hash while the gate is taken and given back by this test, which no waiting unit allows."""

    def hash(rows: Any, **how: Any) -> Any:
        reasons = hash_all(rows, **how)
        other = run(database, "users", "create", f"x{len(rows)}@example.com", "--no-password")
        assert other.exit_code in (0, 3)
        return reasons

    return hash


def test_check_says_of_plain_passwords_what_the_import_then_says(
    app: Flask, cli: Cli, database: Database, people: Path
) -> None:
    for email in ("same", "other"):
        cli("users", "create", f"{email}@example.com", "--password-stdin", stdin=PASSWORD)
    cli("users", "create", "none@example.com", "--no-password", check=True)
    people.write_text(
        f"email,password\nsame@example.com,{PASSWORD}\nother@example.com,{PASSWORD * 2}\n"
        f"none@example.com,{PASSWORD}\nnew@example.com,{PASSWORD}\nbad@example.com,hunter2\n"
    )
    args = ("users", "import", str(people), "--hash-passwords", "--on-error", "skip")
    before = emails(database)
    for more in ((), ("--on-conflict", "update"), ("--on-conflict", "skip")):
        checked = cli(*args, *more, "--check", "--format", "json")
        assert (checked.exit_code, emails(database)) == (6, before)
        planned = cli(*args, *more, "--dry-run")
        remarks = json.loads(checked.stderr)["remarks"]
        assert "Line 6, column password: A password must have at least 12 characters." in remarks
        lines = [line for line in planned.stderr.splitlines() if line.startswith("Line")]
        assert [line for line in remarks if line.startswith("Line")] == lines
    counts = [checked.json[name] for name in ("created", "unchanged", "skipped")]
    assert counts == [1, 1, 2]


def test_check_says_that_the_update_of_a_row_would_be_refused(
    cli: Cli, database: Database, people: Path
) -> None:
    people.write_text("email,active\nada@example.com,false\nb,\n")
    cli("users", "create-admin", "ada@example.com", "--password-stdin", stdin=PASSWORD, check=True)
    args = ("users", "import", str(people), "--on-error", "skip", "--on-conflict", "update")
    problem = "Line 3, column email: "
    refusal = "Error: this would leave no active administrator who can sign in\n"
    for more in (("--check",), ()):
        done = cli(*args, *more)
        assert (done.exit_code, refusal in done.stderr) == (5, True)
        assert (problem in done.stderr) is bool(more)
        assert database.rows("SELECT active FROM ops_users") in ([(1,)], [(True,)])


def test_resumed_import_keeps_the_passwords_that_were_refused_before(
    app: Flask, cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH_TO_HASH", 2)
    rows = [f"a@example.com,{PASSWORD}", "b@example.com,hunter2", f"c@example.com,{PASSWORD}"]
    people.write_text("\n".join(["email,password", *rows]) + "\n")
    rejects = people.with_name("rejects.csv")
    args = ("users", "import", str(people), "--hash-passwords", "--on-error", "skip")
    write = batches.write

    def stopping(verdict: Any, place: Any, **how: Any) -> None:
        if place["first"] > 2:
            raise Refused("not now")
        write(verdict, place, **how)

    monkeypatch.setattr(batches, "write", stopping)
    assert cli(*args).exit_code == 5
    monkeypatch.setattr(batches, "write", write)
    resumed = cli(*args, "--rejects", str(rejects), "--format", "json")
    assert (resumed.exit_code, resumed.json["created"], resumed.json["rejected"]) == (6, 1, 1)
    assert rejects.read_text().splitlines()[1].startswith("b@example.com,hunter2,3,password,")
    assert emails(database) == ["a@example.com", "c@example.com"]


@pytest.mark.usefixtures("real_hashes")
@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_takes_a_hash_that_a_sign_in_verifies(
    app: Flask, cli: Cli, database: Database, people: Path
) -> None:
    people.write_text(f'email,password\na@example.com,"{passwords.hash_password(PASSWORD)}"\n')
    assert cli("users", "import", str(people), check=True).stderr == "Done, audit event 3.\n"
    ((stored,),) = database.rows("SELECT password FROM ops_users")
    assert passwords.matches(PASSWORD, stored)


# --- plans and progress ------------------------------------------------------


def test_import_plans_every_batch_and_writes_nothing(
    cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    people.write_text("email\na@example.com\nb@example.com\nc@example.com\na@example.com\n")
    args = ("users", "import", str(people), "--on-error", "skip")
    planned = cli(*args, "--dry-run", "--format", "json")
    assert planned.exit_code == 6
    remark = "Line 5, column email: a@example.com is in line 2 already"
    assert json.loads(planned.stderr) == {"remarks": [remark]}
    steps = [(step["action"], step["after"]["created"]) for step in planned.json["plan"]]
    assert steps == [("user:account:import", 2), ("user:account:import", 1)]
    assert (planned.json["changed"], emails(database)) == (True, [])
    done = cli(*args, "-q")
    assert (done.exit_code, done.stdout) == (6, "3\n")
    assert verified(cli)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_says_how_far_it_is_in_a_log(
    cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    people.write_text("email\na@example.com\n")
    done = cli("users", "import", str(people))
    assert done.stderr.startswith("1 row (100%), ")
    assert done.stderr.endswith(" a second, 0 s left\nDone, audit event 3.\n")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_says_how_far_it_is_after_each_password(
    cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", 0)
    rows = [f"{name}@example.com,{PASSWORD}\n" for name in "abcd"]
    people.write_text("".join(["email,password\n", *rows]))
    done = cli("users", "import", str(people), "--hash-passwords", check=True)
    places = [line.partition(",")[0] for line in done.stderr.splitlines()[:-1]]
    assert places == [
        "1 row (25%)", "2 rows (50%)", "3 rows (75%)", "4 rows (100%)", "4 rows (100%)",
    ]  # fmt: skip


# --- stopped and resumed -----------------------------------------------------


def import_until(file: str, moment: str) -> None:
    """Import in batches of two rows, and die at the third account: in its unit, or after it."""
    import os
    import signal

    import opsapp
    from opsapp import signals
    from opsapp.accounts.transfer import importing
    from opsapp.actors import Actor
    from opsapp.unit.work import Unit

    importing.BATCH = 2
    app = opsapp.create_app()
    created = []

    def die(_app: object, *, user_id: int, **_extra: object) -> None:
        created.append(user_id)
        if len(created) == 3:
            os.kill(os.getpid(), signal.SIGKILL)

    signal_of = signals.before_commit if moment == "before" else lambda sent: sent
    signal_of(signals.user_created).connect(die, app)
    unit = Unit(actor=Actor(kind="os", name="ada", host="here", terminal="none"), door="cli")
    silent = importing.Report(problem=print, progress=print, resumed=print)
    with app.app_context():
        importing.import_file(file, importing.Options(), report=silent, unit=unit)


SILENT = Report(
    problem=lambda reject: None, progress=lambda count, share: None, resumed=lambda row: None
)


@pytest.mark.parametrize(("moment", "row"), [("before", 2), ("after", 4)])
def test_killed_import_goes_on_where_it_ended(
    moment: str, row: int, cli: Cli, database: Database, people: Path
) -> None:
    addresses = [f"u{number}@example.com" for number in range(5)]
    people.write_text("\n".join(["email", *addresses]) + "\n")
    killed = ended(start_work(database, import_until, people, moment))
    assert killed.exit_code == -signal.SIGKILL, killed.stderr
    assert emails(database) == addresses[:row]
    # What happens between the two runs is not undone by the second.
    cli("users", "delete", addresses[0], "--yes", check=True)
    resumed = cli("users", "import", str(people), "--format", "json")
    assert resumed.exit_code == 0
    remark = f"Resumed after row {row}, which an earlier run has imported."
    assert json.loads(resumed.stderr) == {"remarks": [remark]}
    assert (resumed.json["created"], resumed.json["resumed_after"]) == (5 - row, row)
    assert emails(database) == ["None", *addresses[1:]]
    assert verified(cli)


def test_killed_import_takes_a_file_that_was_changed_as_another(
    cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    people.write_text("email,username\na@example.com,a\nplain,\n")
    assert cli("users", "import", str(people)).exit_code == 2
    people.write_text("email,username\na@example.com,b\nb@example.com,\n")
    changed = cli("users", "import", str(people))
    assert changed.exit_code == 3
    assert "a@example.com is user 1, who differs in username; no row is imported" in changed.stderr
    people.write_text("email,username\na@example.com,a\nb@example.com,\n")
    mended = cli("users", "import", str(people), "--format", "json")
    assert (mended.exit_code, mended.json["created"], mended.json["unchanged"]) == (0, 1, 1)
    assert emails(database) == ["a@example.com", "b@example.com"]


def test_import_of_a_file_by_two_processes_applies_no_batch_twice(
    app: Flask, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    people.write_text("email\na@example.com\nb@example.com\n")

    def overtake(_app: object, *, user_id: int, **_extra: object) -> None:
        if user_id == 1:
            assert run(database, "users", "import", str(people)).exit_code == 0

    with signals.user_created.connected_to(overtake, app), pytest.raises(Busy) as busy:
        import_file(str(people), Options(), report=SILENT, unit=a_unit())
    assert busy.value.message == "another process is importing this file"
    assert emails(database) == ["a@example.com", "b@example.com"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_refuses_a_file_that_grows_meanwhile(
    app: Flask, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    people.write_text("email\na@example.com\nb@example.com\n")

    def grow(_app: object, **_extra: object) -> None:
        with people.open("a") as file:
            file.write("c@example.com\n")
        os.utime(people, (0, 0))

    with signals.user_created.connected_to(grow, app), pytest.raises(Conflict) as conflict:
        import_file(str(people), Options(), report=SILENT, unit=a_unit())
    assert conflict.value.message == "people.csv was changed while it was read"
    assert emails(database) == ["a@example.com"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_stopped_import_says_that_batches_are_written(
    database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 1)
    people.write_text("email\na@example.com\nb@example.com\n")

    def stop(_app: object, *, user_id: int, **_extra: object) -> None:
        if user_id == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with signals.before_commit(signals.user_created).connected_to(stop):
        done = call(database, "users", "import", str(people))
    assert (done.exit_code, done.stderr) == (
        143, "Stopped by SIGTERM: the change is made, audit event 3.\n",
    )  # fmt: skip
    assert emails(database) == ["a@example.com"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_stopped_import_keeps_the_rows_that_it_rejected(
    cli: Cli, database: Database, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.write_text("email\na@example.com\nbad\nb@example.com\nc@example.com\n")
    rejects = people.with_name("rejects.csv")
    args = ("users", "import", str(people), "--on-error", "skip", "--rejects", str(rejects))
    monkeypatch.setattr(importing, "BATCH", 2)
    write = batches.write
    for stop, exit_code in ((Refused("not now"), 5), (Stopped(signal.SIGINT), 130)):
        rejects.unlink(missing_ok=True)

        def stopping(verdict: Any, place: Any, *, stop: BaseException = stop, **how: Any) -> None:
            if place["first"] > 2:
                raise stop
            write(verdict, place, **how)

        monkeypatch.setattr(batches, "write", stopping)
        assert cli(*args).exit_code == exit_code
        assert rejects.read_text().splitlines()[1].startswith("bad,3,email,")
    assert emails(database) == ["a@example.com"]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_stopped_import_without_bad_rows_leaves_the_rejects_of_an_earlier_one(
    cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people.write_text("email\na@example.com\n")
    rejects = people.with_name("rejects.csv")
    rejects.write_text("earlier")

    def refusing(*_args: Any, **_how: Any) -> None:
        raise Refused("not now")

    monkeypatch.setattr(batches, "write", refusing)
    done = cli("users", "import", str(people), "--on-error", "skip", "--rejects", str(rejects))
    assert (done.exit_code, rejects.read_text()) == (5, "earlier")
