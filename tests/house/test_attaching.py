"""The page about attaching, followed to the letter on the application that it shows."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

from tests.support import ROOT
from tests.support.forks import flask, forked

PAGE = (ROOT / "docs" / "attaching.md").read_text()
BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
BLOCKS = [(block["kind"], block["text"]) for block in BLOCK.finditer(PAGE)]
COMMAND = re.compile(r"^\$ (?P<line>.*)\n(?P<answer>(?:(?!\$ ).*\n)*)", re.M)


def test_every_block_is_typed_or_is_the_application() -> None:
    kinds = [kind for kind, _text in BLOCKS]
    assert sorted(set(kinds)) == ["console", "py", "python", "text"]  # the last is an excerpt
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_page_works_as_written(tmp_path: Path) -> None:
    folder = tmp_path / "blog"
    folder.mkdir()
    [application] = [text for kind, text in BLOCKS if kind == "python"]
    (folder / "app.py").write_text(application)
    environ = {**_without_settings(), "OPSAPP_FORMAT": "table", "COLUMNS": "110"}
    for kind, text in BLOCKS:
        for command in COMMAND.finditer(text) if kind == "console" else ():
            _, *words = shlex.split(command["line"])
            code, out, errors = forked(flask, *words, environ=environ, folder=folder, stdin="")
            said = [text.replace(str(folder), "…") for text in (out, errors)]
            assert command["answer"] in ("".join(said), "".join(reversed(said))), command["line"]
            assert code == 0
    [lines] = [text for kind, text in BLOCKS if kind == "py"]
    (folder / "app.py").write_text(application + lines)
    code, out, errors = forked(flask, "ops", "status", environ=environ, folder=folder, stdin="")
    assert "attached" in out
    assert "by its own code" in out
    assert (code, errors) == (6, "Nothing is audited until flask ops init.\n")


def _without_settings() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPSAPP_", "FLASK_"))
    }
