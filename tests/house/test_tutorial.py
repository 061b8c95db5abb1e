"""The tutorial, followed to the letter: its files written into an empty folder, its lines typed."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support import FLASK, ROOT, Database, run
from tests.support.server import served

PAGE = (ROOT / "docs" / "building-on-opsapp.md").read_text()
SHOP = ROOT / "examples" / "shop"
BLOCK = re.compile(
    r"(?:^`shop/(?P<file>[\w./]+)`\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S
)
BLOCKS = [found.groupdict() for found in BLOCK.finditer(PAGE)]
FILES = {block["file"]: block["text"] for block in BLOCKS if block["file"]}


def texts(kind: str) -> list[str]:
    """The blocks of this kind that are no file."""
    return [block["text"] for block in BLOCKS if block["kind"] == kind and not block["file"]]


def test_files_of_the_tutorial_are_those_of_the_shop() -> None:
    paths = [*SHOP.glob("*.py"), *SHOP.glob("templates/**/*.*"), *SHOP.glob("tests/*.py")]
    assert {str(path.relative_to(SHOP)): path.read_text() for path in paths} == FILES


def test_every_block_is_a_file_or_is_run() -> None:
    others = [block["kind"] for block in BLOCKS if not block["file"]]
    assert others == ["console", "toml", "console", "console", "console", "pycon", "sh", "console"]
    assert PAGE.count("```") == 2 * len(BLOCKS)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty one, in which a reader begins; the page puts the instance folder into it."""
    return tmp_path


def typed(database: Database, folder: Path, lines: list[str]) -> None:
    """Type these lines into a shell; the first that fails ends it."""
    path = f"{Path(FLASK).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-e"],
        input="\n".join(lines),
        env={**database.environ, "PATH": path},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def commands_of(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]


def test_tutorial_works_as_written(empty_database: Database, folder: Path) -> None:
    begin, migrate, test, use, curl = texts("console")
    typed(empty_database, folder, commands_of(begin))
    for name, content in FILES.items():
        (folder / "shop" / name).parent.mkdir(exist_ok=True)
        (folder / "shop" / name).write_text(content)
    lines = [line for block in (begin, migrate, test, use) for line in commands_of(block)]
    typed(empty_database, folder, lines)
    (written,) = folder.glob("shop/migrations/*.py")
    assert written.match("shop0001?????_create_shop.py")
    installed_group_is_found_without_the_application(empty_database, folder)
    shell_says_what_is_written(empty_database, folder)
    server_says_what_is_written(empty_database, folder, curl)


def installed_group_is_found_without_the_application(database: Database, folder: Path) -> None:
    (toml,) = texts("toml")
    groups = tomllib.loads(toml)["project"]["entry-points"]["flask.commands"]
    metadata = folder / "shop-1.dist-info"  # What installing the package would write.
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1\n")
    lines = [f"{name} = {where}" for name, where in groups.items()]
    (metadata / "entry_points.txt").write_text("\n".join(["[flask.commands]", *lines]))
    here = {"FLASK_APP": "nobody", "PYTHONPATH": str(folder)}
    found = run(database, "shop", "--help", **here)
    assert (found.exit_code, found.stderr) == (0, "")
    assert "Place an order for an account." in found.stdout
    shutil.rmtree(metadata)


def shell_says_what_is_written(database: Database, folder: Path) -> None:
    (session,) = texts("pycon")
    done = subprocess.run(
        [FLASK, "shell"],
        input="".join(line[4:] for line in session.splitlines(True) if line.startswith(">>> ")),
        env={**database.environ, "FLASK_APP": "shop"},
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    answers = [line for line in session.splitlines(True) if not line.startswith(">>> ")]
    assert (done.returncode, done.stdout, done.stderr) == (0, "".join(answers), "")


def server_says_what_is_written(database: Database, folder: Path, block: str) -> None:
    (line,) = texts("sh")
    line = line.replace("--bind 127.0.0.1:5000 ", "")
    settings = {"FLASK_APP": "shop", "PYTHONPATH": f"{folder}:{ROOT}"}
    lines = block.splitlines()
    with served(database, line, **settings) as site:
        for command, answer in zip(lines[::2], lines[1::2], strict=True):
            program, *words = shlex.split(command.removeprefix("$ "))
            headers = dict(word.split(": ") for word in words if ": " in word)
            assert (program, words[-1][:21]) == ("curl", "http://localhost:5000")
            path = words[-1].removeprefix("http://localhost:5000")
            assert site.wire().test_client().get(path, headers=headers).text.rstrip() == answer
