"""docs/importing.md: the dumps of other systems, imported as the recipes say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, Cli, Database

PAGE = (ROOT / "docs" / "importing.md").read_text()
RECIPES = {
    section.partition("\n")[0]: section for section in re.split(r"^## From ", PAGE, flags=re.M)[1:]
}
ACCOUNTS = {
    "WordPress": [
        ("ada@example.com", "ada", True, False, "administrator"),
        ("bob@example.com", "bob", True, False, "administrator"),
        ("bob@example.com", "bob", True, False, "editor"),
    ],
    "Django": [
        ("ada@example.com", "ada", True, False, None),
        ("bob@example.com", "bob", False, False, None),
    ],
    "Flask-Security": [
        ("ada@example.com", "ada", True, True, "admin"),
        ("ada@example.com", "ada", True, True, "support"),
        ("bob@example.com", None, False, False, None),
    ],
}


def blocks(recipe: str, language: str) -> str:
    found = re.search(rf"^```{language}\n(.*?)^```", recipe, re.MULTILINE | re.DOTALL)
    assert found is not None, language
    return found[1]


def test_every_recipe_is_run() -> None:
    assert RECIPES.keys() == ACCOUNTS.keys()


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("name", ACCOUNTS)
def test_recipe_imports_the_dump(name: str, cli: Cli, database: Database) -> None:
    recipe = RECIPES[name]
    dump, *commands = re.findall(r"^\$ (.*)$", blocks(recipe, "console"), re.MULTILINE)
    # The program of the other system, whose output stands on the page.
    folder = database.instance.parent
    file = Path(folder, dump.rpartition(" > ")[2])
    file.write_text(blocks(recipe, "json" if name == "Django" else "csv"))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            ["sh", "-c", command],
            env={**database.environ, "PATH": path},
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, "Error" in done.stderr) == (0, False), done.stderr
    rows = database.rows(
        "SELECT u.email, u.username, u.active, u.password IS NOT NULL, r.name FROM ops_users u"
        " LEFT JOIN ops_grants g ON g.user_id = u.id LEFT JOIN ops_roles r ON r.id = g.role_id"
        " ORDER BY u.id, r.name"
    )
    assert rows == ACCOUNTS[name]
    assert cli("audit", "verify", "--state").exit_code == 0
