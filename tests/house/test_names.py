"""The names of variables and functions: rule 7 of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.house.test_language import BESIDE, MODULES, Text, nodes, place, refuse

_PARTICIPLES = """
asked begun called chosen closed done drawn ended found given gone held kept known left lost made
meant met named opened refused said saved seen sent shown stored taken told tried wanted written
"""
VAGUE = frozenset(
    f"{_PARTICIPLES} mine nothing one ones ours something theirs thing things whole".split()
)
"""Participles and pronouns, which say nothing of a value and cannot be searched for."""


def local_names(path: Path) -> Iterator[Text]:
    """Each argument and variable of a function, with its file and line."""
    functions = (node for node in nodes(path) if isinstance(node, ast.FunctionDef))
    for node in {inner for function in functions for inner in ast.walk(function)}:
        if isinstance(node, ast.arg):
            yield f"{place(path)}:{node.lineno}", node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield f"{place(path)}:{node.lineno}", node.id


def vague(names: Iterable[Text]) -> list[Text]:
    """The names that break rule 7."""
    return sorted((where, name) for where, name in names if name.strip("_") in VAGUE)


def test_variables_are_nouns() -> None:
    names = [name for path in (*MODULES, *BESIDE) for name in local_names(path)]
    assert len(names) > 10_000
    refuse("name the content of the variable (rule 7):", vague(names))


def test_rule_finds_variables_of_every_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "code.py"
    code.write_text(
        "found = {}\n"
        "def read(given, *, user):\n"
        "    for _one in [kept for kept in given]:\n"
        "        with user as held:\n"
        "            if left := held.left:\n"
        "                row = lambda told: left\n"
    )
    monkeypatch.setattr("tests.house.test_names.place", lambda path: path.name)
    lines = [f"{where} {name}" for where, name in vague(local_names(code))]
    assert lines == [
        "code.py:2 given", "code.py:3 _one", "code.py:3 kept", "code.py:4 held",
        "code.py:5 left", "code.py:6 told",
    ]  # fmt: skip


_IRREGULAR = """
bound broken brought built caught driven felt forgotten frozen grown heard hidden laid led lent
paid proven sold sought spent sworn taught thought thrown torn understood won worn
"""
PARTICIPLE = re.compile(rf"{'|'.join(f'{_PARTICIPLES} {_IRREGULAR}'.split())}|\w+ed")
_NO_PARTICIPLES = "deed embed exceed feed heed need proceed seed shed speed"
NO_PARTICIPLES = frozenset(_NO_PARTICIPLES.split())
_VERBS = """
add answer are check find has is load mark note record refuse remove replace run sample say take
was write
"""
VERBS = frozenset(_VERBS.split())
"""Words by which a name may end with a participle: ``is_kept``, ``refuse_unfinished``."""
FUNCTIONS_THAT_STAY = {
    ("opsapp/entrypoints.py", "hidden"),  # A property of click.
    ("opsapp/profiling/reports/traces.py", "slowest_and_failed"),  # Two selections.
    ("opsapp/unit/work.py", "changed"),  # A field of the answers in JSON.
}


def function_names(path: Path) -> Iterator[Text]:
    """Each function, method and property, with its file and line."""
    for node in nodes(path):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if (place(path), node.name) not in FUNCTIONS_THAT_STAY:
            yield f"{place(path)}:{node.lineno}", node.name


def is_participle(name: str) -> bool:
    """Return whether a name is a participle, or ends with one and has no verb."""
    parts = name.strip("_").split("_")
    is_phrase = parts[0] == "test" or not VERBS.isdisjoint(parts)
    is_one = PARTICIPLE.fullmatch(parts[-1]) and parts[-1] not in NO_PARTICIPLES
    return bool(is_one) and not is_phrase


def test_functions_are_verbs_or_nouns() -> None:
    names = [name for path in (*MODULES, *BESIDE) for name in function_names(path)]
    assert len(names) > 3_000
    breaches = sorted((where, name) for where, name in names if is_participle(name))
    refuse("a verb, or a noun for the result (rule 7):", breaches)


@pytest.mark.parametrize(
    ("name", "fails"),
    [
        ("shown", True),
        ("_counted", True),
        ("_not_held", True),
        ("count", False),
        ("need", False),
        ("_is_kept", False),
        ("refuse_unfinished", False),
        ("stored_hashes", False),
    ],
)
def test_rule_finds_participles(name: str, fails: bool) -> None:
    assert is_participle(name) is fails


PARAMETER = re.compile(r":param (\w+):")


def test_docstrings_name_parameters_that_are_there() -> None:
    breaches = [
        (place(path), f"{function.name} has no {name}")
        for path in (*MODULES, *BESIDE)
        for function in nodes(path)
        if isinstance(function, ast.FunctionDef)
        for name in PARAMETER.findall(ast.get_docstring(function) or "")
        if name not in {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    ]
    refuse("a parameter that is not there:", breaches)
