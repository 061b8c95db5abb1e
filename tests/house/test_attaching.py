"""The pages about attaching, followed to the letter on the applications that they show."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.forks import flask, forked

BLOCK = re.compile(r"^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^\$ (?P<line>.*)\n(?P<answer>(?:(?!\$ ).*\n)*)", re.M)
PIPE = re.compile(r"echo '(?P<words>[^']*)' \| (?P<line>.*)")
CODES = {"Error: this would leave no active administrator": 5, "Error: User needs": 2}
"""The exit codes of commands that are refused, by the beginning of the answer."""
BESIDE = ROOT / ".venv-appbuilder" / "bin" / "flask"
Answer = tuple[int, str, str]
Program = Callable[..., Answer]


def page(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text()


def beside_appbuilder(
    *words: str, environ: Mapping[str, str], folder: Path, stdin: str = ""
) -> Answer:
    """Run `flask` of the environment that has Flask-AppBuilder, and of the extras none."""
    done = subprocess.run(
        [str(BESIDE), *words[1:]],
        env=environ,
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


PAGES: dict[str, Program] = {
    "attaching": lambda *words, **rest: forked(flask, *words[1:], **rest),
    "attaching-flask-login": lambda *words, **rest: forked(flask, *words[1:], **rest),
    "attaching-flask-security": lambda *words, **rest: forked(flask, *words[1:], **rest),
    "attaching-flask-appbuilder": beside_appbuilder,
}


def environment() -> dict[str, str]:
    environ = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OPSAPP_", "FLASK_"))
    }
    return {**environ, "OPSAPP_FORMAT": "table", "COLUMNS": "110"}


def code_of(answer: str) -> int:
    if answer.startswith("allowed  no"):
        return 6
    return next((code for words, code in CODES.items() if answer.startswith(words)), 0)


@pytest.mark.parametrize("name", PAGES)
def test_every_block_is_typed_or_is_the_application(name: str) -> None:
    kinds = [block["kind"] for block in BLOCK.finditer(page(name))]
    excerpts = {"text"} if name == "attaching" else set()
    assert set(kinds) == {"console", "py", "python", *excerpts}
    assert page(name).count("```") == 2 * len(kinds)


@pytest.mark.parametrize("name", PAGES)
def test_page_works_as_written(name: str, tmp_path: Path) -> None:
    if PAGES[name] is beside_appbuilder and not BESIDE.exists():
        pytest.skip("Flask-AppBuilder has an environment of its own: make test-other makes it")
    folder = tmp_path / "blog"
    folder.mkdir()
    for block in BLOCK.finditer(page(name)):
        match block["kind"]:
            case "python" | "py":
                with (folder / "app.py").open("a") as file:
                    file.write(block["text"])
            case "console":
                for command in COMMAND.finditer(block["text"]):
                    type_command(PAGES[name], command["line"], command["answer"], folder)


def type_command(program: Program, line: str, answer: str, folder: Path) -> None:
    piped = PIPE.fullmatch(line)
    stdin = f"{piped['words']}\n" if piped else ""
    words = shlex.split(piped["line"] if piped else line)
    code, out, errors = program(*words, environ=environment(), folder=folder, stdin=stdin)
    texts = [text.replace(str(folder), "…") for text in (out, errors)]
    assert answer in ("".join(texts), "".join(reversed(texts))), line
    assert code == code_of(answer), line


def test_application_is_attached_by_two_lines(tmp_path: Path) -> None:
    blocks = {block["kind"]: block["text"] for block in BLOCK.finditer(page("attaching"))}
    (tmp_path / "app.py").write_text(blocks["python"] + blocks["py"])
    environ = environment()
    code, out, errors = forked(flask, "ops", "status", environ=environ, folder=tmp_path, stdin="")
    assert "attached" in out
    assert "by its own code" in out
    assert (code, errors) == (6, "Nothing is audited until flask ops init.\n")
