"""The language: rules 1 and 2 of CONTRIBUTING.md, over documents and the texts of the code."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeGuard

import pytest

from opsapp import errors
from opsapp.jobs import runs
from tests.support import ROOT

GENERATED = {"api.md", "cli.md", "settings.md"}
"""Pages that `docs/make.py` writes from the code."""
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
MODULES = sorted([*ROOT.glob("opsapp/**/*.py"), *ROOT.glob("commands/**/*.py")])
PRONOUNS = re.compile(r"\b(?:some|no|any|every)body\b|\bwho(?:m)?ever\b", re.I)
QUESTION_WORD = re.compile(r"(?:What|Who|Where|Whether)\b(?!'s)")
SENTENCE_END = re.compile(r"(?<=[.!?:;])[)\"”*_`]*\s+")
Text = tuple[str, str]
"""A piece of text, with the file that it comes from."""


# --- documents -----------------------------------------------------------------


def documents() -> Iterator[Text]:
    """Each paragraph, list item and table cell of the hand-written pages."""
    for path in PAGES:
        if path.name not in GENERATED:
            for text in blocks(path.read_text()):
                yield str(path.relative_to(ROOT)), text


COPIES = {
    *runs.STATUSES.values(),
    *re.findall(r"\d{3}  (.+)$", errors.__doc__ or "", re.M),
}
"""Texts of the code that the pages repeat word for word, as other tests check."""


def blocks(page: str) -> Iterator[str]:
    """The blocks of a Markdown page, without code and without its copies from the code."""
    page = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    page = re.sub(r"``?[^`]*``?", "`code`", page)
    page = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", page)
    for copy in COPIES:
        page = page.replace(copy, "")
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", page):
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            yield re.sub(r"^\s*(?:[-*#]+|\d+\.)\s+", "", " ".join(cell.split()))


# --- code ----------------------------------------------------------------------


def docstrings() -> Iterator[Text]:
    """Each docstring, those of commands and attributes included."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if is_docstring(node):
                yield from ((place(path), part) for part in blocks(words(node.value)))


def messages() -> Iterator[Text]:
    """Each other text in the code: messages, hints, help of options."""
    for path in MODULES:
        tree = ast.parse(path.read_text())
        others = {node.value for node in ast.walk(tree) if is_docstring(node)}
        others |= {part for node in ast.walk(tree) for part in parts(node)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant | ast.JoinedStr) and node not in others:
                yield place(path), " ".join(words(node).split())


def comments() -> Iterator[Text]:
    """Each comment; lines below each other are one."""
    for path in MODULES:
        previous, lines = 0, list[str]()
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.COMMENT:
                if token.start[0] != previous + 1 and lines:
                    yield place(path), " ".join(lines)
                    lines = []
                lines.append(token.string.lstrip("# "))
                previous = token.start[0]
        yield place(path), " ".join(lines)


def is_docstring(node: ast.AST) -> TypeGuard[ast.Expr]:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def parts(node: ast.AST) -> list[ast.expr]:
    return node.values if isinstance(node, ast.JoinedStr) else []


def words(node: ast.expr) -> str:
    """The text of a string or an f-string, whose values are left out."""
    if isinstance(node, ast.JoinedStr):
        return "".join(words(part) for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else "…"


def place(path: Path) -> str:
    return str(path.relative_to(ROOT))


# --- the rules -----------------------------------------------------------------

TEXTS: dict[str, Callable[[], Iterable[Text]]] = {
    "documents": documents,
    "docstrings": docstrings,
    "messages": messages,
    "comments": comments,
}
ASSERTED = ["documents"]
"""The sets of TEXTS that follow the rules."""


def nameless(texts: Iterable[Text]) -> list[Text]:
    """The texts that break rule 1; the rule itself has to name the words."""
    return [
        (file, text)
        for file, text in texts
        if PRONOUNS.search(text) and not text.startswith("No *somebody")
    ]


def headless(texts: Iterable[Text]) -> list[Text]:
    """The sentences that break rule 2."""
    return [
        (file, sentence)
        for file, text in texts
        for sentence in sentences(text)
        if QUESTION_WORD.match(sentence) and not sentence.rstrip("*_)").endswith("?")
    ]


def sentences(text: str) -> list[str]:
    return [sentence.lstrip("*_“\"'(") for sentence in SENTENCE_END.split(text)]


@pytest.mark.parametrize("name", ASSERTED)
def test_texts_name_the_actor(name: str) -> None:
    assert nameless(TEXTS[name]()) == []


@pytest.mark.parametrize("name", ASSERTED)
def test_statements_begin_with_their_noun(name: str) -> None:
    assert headless(TEXTS[name]()) == []


def test_rules_find_a_breach_and_leave_a_question() -> None:
    page = "Ended by somebody. What is left goes.\n\n| 4 | Who may |\n\n- What is it? `Who`\n"
    texts = [("page", block) for block in blocks(page)]
    assert [text for _file, text in nameless(texts)] == ["Ended by somebody. What is left goes."]
    assert [text for _file, text in headless(texts)] == ["What is left goes.", "Who may"]


@pytest.mark.parametrize("name", TEXTS)
def test_each_set_has_texts(name: str) -> None:
    assert len([text for _file, text in TEXTS[name]() if " " in text]) > 200
