"""One of everything: settings have one reader, and a type of records has one name."""

from __future__ import annotations

import ast
from collections import defaultdict

from opsapp.settings import SETTINGS
from tests.house.test_architecture import SOURCES, nodes
from tests.support import ROOT

NAMES = {setting.name for setting in SETTINGS} | {"APP_NAME"}
READERS = "opsapp/settings/"


def _key(node: ast.AST) -> str | None:
    """Return the key that a node reads of ``….config`` or ``….environ``; None of anything else."""
    match node:
        case ast.Subscript(value=ast.Attribute(attr="config" | "environ"), slice=ast.Constant(key)):
            return str(key)
        case ast.Call(
            func=ast.Attribute(
                value=ast.Attribute(attr="config" | "environ"), attr="get" | "pop" | "setdefault"
            ),
            args=[ast.Constant(key), *_],
        ):
            return str(key)
    return None


def test_only_the_settings_read_a_setting() -> None:
    readers = {
        (str(path.relative_to(ROOT)), key)
        for path in SOURCES
        for node in nodes(path)
        if (key := _key(node)) in NAMES
    }
    assert {file for file, _key in readers if not file.startswith(READERS)} == set()


def test_reader_of_a_setting_is_recognised() -> None:
    lines = (
        'app.config["OPSAPP_URL"]',
        'current_app.config.get("OPSAPP_URL")',
        'os.environ["OPSAPP_URL"]',
        'os.environ.get("OPSAPP_URL", "")',
    )
    keys = [_key(ast.parse(line, mode="eval").body) for line in lines]
    assert keys == ["OPSAPP_URL"] * len(lines)


def test_no_two_modules_name_the_same_type() -> None:
    places = defaultdict(list)
    for path in SOURCES:
        for node in ast.parse(path.read_text()).body:
            match node:
                case ast.Assign(targets=[ast.Name(name)], value=ast.Subscript()) if (
                    name[0].isupper() and not name.isupper()
                ):
                    places[name, ast.unparse(node.value)].append(path.name)
    assert {alias: files for alias, files in places.items() if len(files) > 1} == {}
