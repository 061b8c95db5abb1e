"""Applications that cannot be loaded: what fails, and where."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import expect
from tests.support import Database, run, run_afresh


def test_unnamed_application_is_7_and_its_name_is_said(database: Database) -> None:
    answer = run_afresh(database, "users", "list", FLASK_APP="")
    assert (answer.exit_code, answer.stdout) == (7, "")
    assert answer.stderr.startswith("Error: the application cannot be loaded: Could not locate")
    assert answer.stderr.endswith("\n  → FLASK_APP=opsapp, or the one built on it\n")


@pytest.mark.parametrize(
    "source",
    ["def create_app():\n    import no_such_module\n", "import click\nimport no_such_module\n"],
    ids=["factory", "module"],
)
def test_application_whose_code_fails_is_7_with_the_place(
    database: Database, tmp_path: Path, source: str
) -> None:
    """Flask quotes the whole traceback of a module, which is no line."""
    (tmp_path / "broken_app.py").write_text(source)
    environ = {"FLASK_APP": "broken_app", "PYTHONPATH": str(tmp_path)}
    for words in (("users", "list"), ("ops", "users", "list")):
        expect(
            run(database, *words, **environ),
            7,
            stderr="Error: the application cannot be loaded:"
            " ModuleNotFoundError: No module named 'no_such_module'\n"
            f"  → {tmp_path}/broken_app.py, line 2; flask routes shows the traceback\n",
        )


INCOMPLETE = """
from tests.ops.conftest import memory_app

app, db = memory_app()


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    keys = db.relationship("Key")
"""
AT_ITS_IMPORT = """
with app.app_context():
    db.session.query(User).first()
"""


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
@pytest.mark.parametrize("rest", ["", AT_ITS_IMPORT], ids=["later", "at import"])
def test_models_that_cannot_be_mapped_are_7_with_the_reason(
    database: Database, tmp_path: Path, rest: str
) -> None:
    (tmp_path / "incomplete_app.py").write_text(INCOMPLETE + rest)
    environ = {"FLASK_APP": "incomplete_app", "PYTHONPATH": str(tmp_path)}
    done = run(database, "ops", "users", "list", **environ)
    says = "the application's models cannot be mapped: When initializing mapper Mapper[User(user)]"
    advice = "see that the application imports each model before its first query"
    assert (done.exit_code, done.stdout) == (7, "")
    remark = "" if rest else "Nothing is audited until flask ops init.\n"
    pattern = f"{remark}Error: {re.escape(says)}.+\n  → {advice}\n"
    assert re.fullmatch(pattern, done.stderr), done.stderr


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_commands_of_an_application_that_cannot_be_loaded_are_those_of_flask(
    database: Database, tmp_path: Path
) -> None:
    """It may be any application of the environment, whose answers do not change."""
    (tmp_path / "broken_app.py").write_text("import click\nimport no_such_module\n")
    environ = {"FLASK_APP": "broken_app", "PYTHONPATH": str(tmp_path)}
    for words in (("shell",), ("routes",)):
        done = run(database, *words, **environ)
        said = "Error: While importing 'broken_app', an ImportError was raised:\n\nTraceback "
        assert (done.exit_code, done.stdout, said in done.stderr) == (2, "", True), done.stderr
    listed = run(database, "--help", **environ)
    assert "\n  ops  " in listed.stdout
    assert "users" not in listed.stdout.replace("this application: users", "")
    unnamed = run_afresh(database, "--help", FLASK_APP="")
    assert "\nUsers and roles:\n  users " in unnamed.stdout
