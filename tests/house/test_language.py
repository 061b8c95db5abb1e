"""The language: rules 1 and 2 of CONTRIBUTING.md, over documents and the code."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterable, Iterator
from functools import cache
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
TESTS = sorted(ROOT.glob("tests/**/*.py"))
BESIDE = sorted(
    path
    for folder in ("bench", "docs", "examples", "migrations")
    for path in ROOT.glob(f"{folder}/**/*.py")
)
"""The code of the checkout that is no part of the program."""
COMMENT_MARKS = {
    r"(?:^|\s)#+ (.*)$": (
        "pyproject.toml",
        "Makefile",
        ".ci/*",
        "examples/*.sh",
        "opsapp/**/*.toml",
    ),
    r"^-- (.*)$": ("opsapp/**/*.sql",),
    r"\{#-?(.*?)-?#\}": ("opsapp/**/*.html", "opsapp/**/*.txt", "examples/**/*.html"),
    r"/\*(.*?)\*/": ("opsapp/**/*.css",),
}
"""The pattern of a comment, by the files that have such."""
PRONOUNS = re.compile(r"\b(?:some|no|any|every)body\b|\bwho(?:m)?ever\b", re.I)
QUESTION_WORD = re.compile(r"(?:What|Who|Where|Whether)\b(?!'s)")
CODE = re.compile(r"``?[^`]+``?")
SENTENCE_END = re.compile(r"(?<=[.!?:;])[)\"”*_`]*\s+")
Text = tuple[str, str]
"""A piece of text, with the file that it comes from."""


# --- documents -----------------------------------------------------------------


def documents() -> Iterator[Text]:
    """Each paragraph, list item and table cell of the hand-written pages."""
    for path in PAGES:
        if path.name not in GENERATED:
            page = path.read_text()
            for copy in COPIES:
                page = page.replace(copy, "")
            for text in blocks(page):
                yield place(path), text


COPIES = {
    *runs.STATUSES.values(),
    *re.findall(r"\d{3}  (.+)$", errors.__doc__ or "", re.M),
}
"""Texts of the code that the pages repeat word for word, as other tests check."""


def blocks(page: str) -> Iterator[str]:
    """The blocks of a Markdown page or a docstring, without code."""
    page = re.sub(r"^```.*?^```$", "", page, flags=re.M | re.S)
    page = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", CODE.sub("`code`", page))
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*|#]|\d+\.) ?)", page):
        for cell in block.split("|") if block.lstrip().startswith("|") else [block]:
            yield re.sub(r"^\s*(?:[-*#]+|\d+\.)\s+", "", " ".join(cell.split()))


# --- code ----------------------------------------------------------------------


def docstrings(paths: Iterable[Path] = MODULES) -> Iterator[Text]:
    """Each docstring, those of commands and attributes included."""
    for path in paths:
        for node in nodes(path):
            if is_docstring(node):
                yield from ((place(path), part) for part in blocks(words(node.value)))


def messages(paths: Iterable[Path] = MODULES) -> Iterator[Text]:
    """Each other text in the code: messages, hints, help of options."""
    for path in paths:
        others = {node.value for node in nodes(path) if is_docstring(node)}
        others |= {part for node in nodes(path) for part in parts(node)}
        for node in nodes(path):
            if isinstance(node, ast.Constant | ast.JoinedStr) and node not in others:
                text = CODE.sub("`code`", " ".join(words(node).split()))
                if " " in text:  # A single word is a value, such as ``everybody``.
                    yield place(path), VALUES.sub("a value", text)


VALUES = re.compile(r"\bor everybody\b(?=\.)")
"""The last value of a setting, in the list of its values."""


def comments(paths: Iterable[Path] = MODULES) -> Iterator[Text]:
    """Each comment; lines below each other are one."""
    for path in paths:
        previous, lines = 0, list[str]()
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.COMMENT:
                if token.start[0] != previous + 1 and lines:
                    yield place(path), CODE.sub("`code`", " ".join(lines))
                    lines = []
                lines.append(token.string.lstrip("# "))
                previous = token.start[0]
        yield place(path), CODE.sub("`code`", " ".join(lines))


def other_comments() -> Iterator[Text]:
    """Each comment of files that are not Python; lines below each other are one."""
    for pattern, globs in COMMENT_MARKS.items():
        for path in (path for glob in globs for path in ROOT.glob(glob) if path.is_file()):
            is_block = not pattern.endswith("$")
            flags = re.S if is_block else re.M
            matches = re.findall(pattern, path.read_text(), flags)
            for comment in matches if is_block else ["\n".join(matches)]:
                for block in re.split(r"\n(?=[A-Z`])", comment.strip()):
                    yield place(path), CODE.sub("`code`", " ".join(block.split()))


def texts_of_tests() -> Iterator[Text]:
    """Each string of a test with more than one word, where ``nobody`` is the name of a user."""
    for file, text in messages(TESTS):
        if file != "tests/house/test_language.py":
            yield file, NAMES_OF_TESTS.sub("a name", text)


NAMES_OF_TESTS = re.compile(r"\bnobody\b|(?<=, )everybody\b")
"""The name of a user who is not there, and the last value of a setting."""


def names_of_tests() -> Iterator[Text]:
    """The name of each test, as words."""
    for path in TESTS:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield place(path), node.name.replace("_", " ")


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


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
    "code beside": lambda: (
        text for kind in (docstrings, messages, comments) for text in kind(BESIDE)
    ),
    "other comments": other_comments,
}


@cache
def texts_of(name: str) -> list[Text]:
    return list(TEXTS[name]())


def nameless(texts: Iterable[Text]) -> list[Text]:
    """The sentences that break rule 1; the rule itself has to name the words."""
    return [
        (file, sentence)
        for file, sentence in sentences(texts)
        if PRONOUNS.search(sentence) and not sentence.startswith("No *somebody")
    ]


def headless(texts: Iterable[Text]) -> list[Text]:
    """The sentences that break rule 2."""
    return [
        (file, sentence)
        for file, sentence in sentences(texts)
        if QUESTION_WORD.match(sentence) and not sentence.rstrip("*_)").endswith("?")
    ]


def sentences(texts: Iterable[Text]) -> Iterator[Text]:
    for file, text in texts:
        for sentence in SENTENCE_END.split(text):
            yield file, sentence.lstrip("*_“\"'(")


def refuse(rule: str, breaches: list[Text]) -> None:
    """Fail with the file and the sentence of each breach."""
    lines = [f"{file}: {sentence}" for file, sentence in breaches]
    if lines:
        pytest.fail("\n".join([rule, *lines]), pytrace=False)


@pytest.mark.parametrize("name", TEXTS)
def test_texts_name_the_actor(name: str) -> None:
    refuse("name the user, operator, process or host (rule 1):", nameless(texts_of(name)))


def test_tests_name_the_actor() -> None:
    texts = [*names_of_tests(), *docstrings(TESTS), *comments(TESTS), *texts_of_tests()]
    refuse("name the user, operator, process or host (rule 1):", nameless(texts))


@pytest.mark.parametrize("name", TEXTS)
def test_statements_begin_with_their_noun(name: str) -> None:
    refuse("begin with the noun, or ask (rule 2):", headless(texts_of(name)))


def test_rules_find_a_breach_and_leave_a_question() -> None:
    page = "Ended by somebody. What is left goes.\n\n| 4 | Who may |\n\n- What is it? `Who`\n"
    texts = [("page", block) for block in blocks(page)]
    assert [text for _file, text in nameless(texts)] == ["Ended by somebody."]
    assert [text for _file, text in headless(texts)] == ["What is left goes.", "Who may"]


def test_failure_names_file_and_sentence() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"^a rule:\na\.py: Who may\.$"):
        refuse("a rule:", [("a.py", "Who may.")])


@pytest.mark.parametrize("name", TEXTS)
def test_each_set_has_texts(name: str) -> None:
    assert len([text for _file, text in texts_of(name) if " " in text]) > 60


# --- words -------------------------------------------------------------------

BARE_AUDIT = re.compile(r"\bthe audit\b(?! (?:log|of|hook|event|key)\b)", re.I)


def test_headings_and_first_lines_say_audit_log() -> None:
    headings = [
        (place(path), line)
        for path in PAGES
        if path.name not in GENERATED
        for line in path.read_text().splitlines()
        if line.startswith("#")
    ]
    firsts = [(place(path), path.read_text().partition("\n")[0]) for path in MODULES]
    refuse(
        "the log of events is the audit log:",
        [(file, line) for file, line in (*headings, *firsts) if BARE_AUDIT.search(line)],
    )


# --- numbers -----------------------------------------------------------------

COUNTED = re.compile(
    r"(?<!\w)f\"[^\"]*\{(?!(?:\w+\.)?[A-Z_]+(?:[:}]|\.days}))[^{}]*\}"
    r" (accounts|bytes|users|rows|events|grants|tokens|sessions|roles|changes|jobs|runs|columns"
    r"|statements|times|files|messages|seconds|minutes|hours|days|samples|cells|characters|lines"
    r"|heads|inputs|entries|members|holders|permissions|requests|attempts|failures)\b"
)
ALWAYS_MANY = {
    "a sandbox needs a copy of {size:,} bytes",
    "is longer than {longest:,} bytes",
    "{head.seq:,} events, the last one is genuine",  # Above 100,000.
    "jobs run {job.name}",
    "jobs serve",
    "{name} runs itself",
    ", {count} times in a row",  # Of 1 nothing is said.
    "{count or 'no'} messages wait",
    "{repeat} times",  # 1 is once.
    "{display.ROWS} of {report.count} statements",
    "{len(cells)} of {count} rows",
    "{len(heads)} heads",  # Of 1 nothing is said.
    "{len(value):,} characters long",  # Above the most.
    "{int(LONGEST.total_seconds() // 3600)} hours",
}


def test_number_and_noun_agree() -> None:
    """`text.pluralize` writes a number with its noun, so that no message says "1 rows"."""
    breaches = [
        (str(file.relative_to(ROOT)), line.strip())
        for file in MODULES
        for line in file.read_text().splitlines()
        if COUNTED.search(line) and not any(part in line for part in ALWAYS_MANY)
    ]
    refuse("text.pluralize(number, noun):", breaches)
