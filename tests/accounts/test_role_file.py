"""Access as code: a file of roles and grants, exported, compared and applied."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from opsapp.accounts import role_plan, roles, users
from opsapp.accounts.permissions import DECLARED
from opsapp.accounts.role_file import EVERY, FOR_EVER, Access, Definition, render
from opsapp.extensions import db
from tests.support import Cli, Database, a_unit
from tests.support.templates import BOB, Commands

FILE = """\
[roles.admin]
description = "Holds every permission."
permissions = ["*"]

[roles.support]
description = "First line"
permissions = ["users:read", "audit:read"]

[grants.support]
"ada@example.com" = 2090-01-01T00:00:00Z

[roles."team.lead"]
"""
NEW = """\
 [roles.support]
-description = ""
+description = "First line"
+  "audit:read",
 [grants.support]
+"ada@example.com" = 2090-01-01T00:00:00Z
{pruned}+[roles."team.lead"]
+description = ""
+permissions = []
"""


@pytest.fixture
def after_support() -> Commands:
    return (
        *BOB,
        ("roles", "create", "support", "--allow", "users:read"),
        ("roles", "create", "old"),
        ("roles", "grant", "support", "bob"),
        ("roles", "grant", "old", "bob"),
    )


@pytest.fixture
def file(database: Database, after_support: Commands) -> Path:
    path = database.instance / "roles.toml"
    path.write_text(FILE)
    return path


def test_export_is_readable_and_in_one_order(cli: Cli, file: Path) -> None:
    assert cli("roles", "export", "--grants").stdout == (
        "# Roles of opsapp: `flask roles apply FILE` makes a database like this file.\n\n"
        '[roles.admin]\ndescription = "Holds every permission."\npermissions = [\n  "*",\n]\n\n'
        f'[grants.admin]\n"ada@example.com" = "{FOR_EVER}"\n\n'
        '[roles.old]\ndescription = ""\npermissions = []\n\n'
        f'[grants.old]\n"bob@example.com" = "{FOR_EVER}"\n\n'
        '[roles.support]\ndescription = ""\npermissions = [\n  "users:read",\n]\n\n'
        f'[grants.support]\n"bob@example.com" = "{FOR_EVER}"\n'
    )
    assert "grants" not in cli("roles", "export").stdout


def test_apply_shows_the_difference_and_is_one_change(
    cli: Cli, database: Database, file: Path
) -> None:
    said = NEW.format(pruned="")
    args = ("roles", "apply", file.name)
    checked = cli(*args, "--check")
    assert (checked.exit_code, checked.stdout) == (6, said)
    planned = cli(*args, "--dry-run")
    assert (planned.exit_code, planned.stdout) == (0, said)
    refused = cli(*args)
    assert (refused.exit_code, refused.stdout) == (5, said)
    assert refused.stderr == (
        "Error: Make 3 changes? Cannot ask: there is no terminal\n  → add --yes\n"
    )
    assert cli("roles", "show", "support", "--format", "json").json["description"] == ""
    done = cli(*args, "--yes", "--reason", "#123")
    assert (done.exit_code, done.stdout) == (0, said)
    correlations = database.rows(
        "SELECT DISTINCT correlation FROM ops_audit_events WHERE reason = '#123'"
    )
    assert len(correlations) == 1
    again = cli(*args, "--yes")
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "Already so: nothing was changed.\n"
    assert cli(*args, "--check").exit_code == 0
    assert cli("users", "list", "--role", "old", "--count").stdout == "1\n"


def test_apply_with_prune_takes_away_what_the_file_lacks(cli: Cli, file: Path) -> None:
    done = cli("roles", "apply", "-", "--prune", "--yes", "--format", "json", stdin=FILE)
    assert [(row["action"], row["role"], row["user"]) for row in done.json["results"]] == [
        ("delete", "old", None),
        ("revoke", "old", "bob@example.com"),
        ("update", "support", None),
        ("grant", "support", "ada@example.com"),
        ("revoke", "support", "bob@example.com"),
        ("create", "team.lead", None),
    ]
    # The file says nothing of the grants of admin.
    assert cli("users", "list", "--role", "admin", "--count").stdout == "1\n"
    assert cli("audit", "verify", "--state").exit_code == 0
    assert cli("roles", "apply", "-", "--prune", "--check", stdin=FILE).exit_code == 0


def test_apply_never_takes_the_last_administrator(cli: Cli, file: Path) -> None:
    words = '[roles.admin]\n[grants.admin]\n"bob@example.com" = "forever"\n'
    done = cli("roles", "apply", "-", "--prune", "--yes", stdin=words)
    assert (done.exit_code, "no active administrator" in done.stderr) == (5, True)


def test_prune_keeps_the_built_in_role_whose_grants_alone_are_in_the_file(
    cli: Cli, file: Path
) -> None:
    words = '[roles.x]\n[grants.admin]\n"ada@example.com" = "forever"\n"bob" = "forever"\n'
    cli("roles", "apply", "-", "--prune", "--yes", stdin=words, check=True)
    assert cli("roles", "list", "--fields", "name").stdout == "name\nadmin\nx\n"
    assert cli("users", "list", "--role", "admin", "--count").stdout == "2\n"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("", "stdin defines no role, and --prune would delete all"),
        ("# roles\n[grants.admin]\n", "stdin defines no role, and --prune would delete all"),
        ('[roles.x]\n[grants.support]\n"bob" = "forever"\n',
         "stdin line 2: --prune would delete role support, which the file does not define"),
    ],
)  # fmt: skip
def test_prune_refuses_a_file_that_defines_too_little(
    cli: Cli, file: Path, words: str, says: str
) -> None:
    done = cli("roles", "apply", "-", "--prune", "--yes", stdin=words)
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        ('[roles.support]\n# none\npermissions = [\n  "users:read",\n  "users:raed",\n]\n', 4,
         "stdin line 5: no permission users:raed\n  → did you mean users:read?"),
        ('[roles.x]\npermissions = ["a b"]\n', 2,
         "stdin line 2: permission a b is not of the form noun:verb, such as users:read"),
        ('[roles.x]\n[grants.support]\n"bobb@example.com" = "forever"\n', 4,
         "stdin line 3: no user bobb@example.com\n  → did you mean bob@example.com?"),
        ('[grants.suport]\n"bob" = "forever"\n', 4,
         "stdin line 1: no role suport\n  → did you mean support?"),
        ('[grants.support]\n"bob" = "forever"\n"bob@example.com" = "forever"\n', 2,
         "stdin line 3: bob@example.com is there twice, as bob@example.com"),
        ('[grants.support]\n"bob" = 2020-01-01T00:00:00Z\n', 2,
         "stdin line 2: bob@example.com: 2020-01-01T00:00:00Z is in the past"),
        ('[grants.support]\n"bob" = true\n', 2,
         'stdin line 2: bob: the end is "forever" or a time such as 2030-12-31T18:00:00Z'),
        ('[roles.support]\npermision = []\n', 2,
         "stdin line 2: permision is not a known key\n  → did you mean permissions?"),
        ('[roles.admin]\npermissions = ["users:read"]\n', 2,
         'stdin line 2: role admin holds every permission: write permissions = ["*"]'),
        ("[roles.Support]\n", 2, "stdin line 1: role Support: write support"),
        ("[roles]\nsupport = 1\n", 2, "stdin line 2: support is not a table"),
        ("[roles.x]\ndescription = 1\n", 2, "stdin line 2: description is not a string"),
        ('[roles.x]\ndescription = "a\\u202eb"\n', 2,
         "stdin line 2: description has the character U+202E at position 2,"
         " which a terminal would obey and not show"),
        ('[grants.support]\n"bob" = 9999-12-31T23:59:59-14:00\n', 2,
         'stdin line 2: bob: the end is "forever" or a time such as 2030-12-31T18:00:00Z'),
        (f"a = {'[' * 5000}\n", 2, "stdin: brackets are nested too deeply"),
        ("[roles.x\n", 2,
         "stdin line 1, column 9: Expected ']' at the end of a table declaration"),
        ('[roles.support]\n\npermissions = ["users:read"\n', 2, "stdin line 3: Unclosed array"),
    ],
)  # fmt: skip
def test_apply_refuses_with_the_line(
    cli: Cli, file: Path, words: str, code: int, says: str
) -> None:
    done = cli("roles", "apply", "-", "--yes", stdin=words)
    assert (done.exit_code, done.stdout, done.stderr) == (code, "", f"Error: {says}\n")


def test_permission_that_a_role_holds_already_needs_no_code(cli: Cli, file: Path) -> None:
    cli("roles", "allow", "old", "shop:open", check=True)
    words = cli("roles", "export").stdout
    assert cli("roles", "apply", "-", "--prune", "--check", stdin=words).exit_code == 0


def test_damaged_permissions_are_not_exported(cli: Cli, database: Database, file: Path) -> None:
    database.execute("UPDATE ops_roles SET permissions = '{' WHERE name = 'old'")
    done = cli("roles", "export")
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == "Error: the permissions of role old are damaged\n  → flask doctor\n"


# --- any file ------------------------------------------------------------------

PEOPLE = ("ada@example.com", "bob@example.com")
descriptions = st.text(
    st.characters(exclude_categories=["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"]), max_size=20
).map(lambda words: roles.clean_description(words.strip()) if words.strip() else "")
ends = st.none() | st.integers(0, 10**8).map(
    lambda seconds: datetime(2080, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)
definitions = st.builds(
    Definition,
    descriptions,
    st.lists(st.sampled_from(sorted(DECLARED)), unique=True).map(sorted).map(tuple),
)
named = st.dictionaries(st.sampled_from(["a", "b.c", "d_e-1"]), definitions)


@st.composite
def files(draw: st.DrawFn) -> str:
    """A file that says everything of a database with Ada and Bob."""
    chosen = {**draw(named), "admin": Definition(draw(descriptions), EVERY)}
    grants = {role: draw(st.dictionaries(st.sampled_from(PEOPLE), ends)) for role in chosen}
    grants["admin"] |= {"ada@example.com": None}
    return render(Access(chosen, grants))


@pytest.fixture
def people(app: Flask) -> Iterator[None]:
    """Ada, who administers, and Bob."""
    for email in PEOPLE:
        users.create(email, password="correct horse battery staple", unit=a_unit())
    db.session.remove()
    yield
    db.session.remove()


@settings(
    max_examples=25,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(words=files())
@pytest.mark.parametrize("kind", ["sqlite"])
def test_apply_makes_the_export_equal_to_the_file(people: None, words: str) -> None:
    role_plan.apply(words, name="file", prune=True, unit=a_unit())
    exported = role_plan.export(with_grants=True)
    assert exported == words
    unit = a_unit()
    assert role_plan.apply(exported, name="file", prune=True, unit=unit) == []
    assert not unit.changed
