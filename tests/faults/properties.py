"""Properties of all that reads hostile input: each is tried by hypothesis, and by a fuzzer.

docs/reliability.md counts the examples. ``python -m tests.faults.fuzz TARGET`` goes on for longer.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import unicodedata
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
import pytest
from click.shell_completion import BashComplete, CompletionItem, FishComplete, ZshComplete
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st

from opsapp import addresses, clock, libpq, text
from opsapp.accounts.transfer import fields as import_fields
from opsapp.accounts.transfer import records
from opsapp.accounts.transfer.sources import Source
from opsapp.audit import verification
from opsapp.cli import completion, confirm, errors, output, tables
from opsapp.console import transcript
from opsapp.engine.connections import check_url
from opsapp.errors import OpsError
from opsapp.jobs import fields, schedule
from opsapp.profiling.record import prof_files
from opsapp.settings import parsers
from opsapp.unit import chain
from tests.support import command_tree

OBEYED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
KEY = b"k" * 32
FOLDER = Path("/dev/shm")  # noqa: S108  (each name there has the process in it)

# Letters with surrogates, as argv has them, and the characters that parsers trip over.
words = st.text(st.one_of(st.characters(), st.sampled_from("²٣\u202e\x1b\0\ud800/@:%[]{}=\"',;\n")))

Property = Callable[..., None]
TARGETS: dict[str, Property] = {}
"""The properties by name; hypothesis makes the arguments."""


def target(**strategies: Any) -> Callable[[Property], Property]:
    """Add a property to the targets, under its name with spaces."""

    def add(check: Property) -> Property:
        TARGETS[check.__name__.replace("_", " ")] = given(**strategies)(check)
        return check

    return add


def is_harmless(line: str) -> bool:
    return OBEYED.isdisjoint(map(unicodedata.category, set(line)))


def assert_harmless(message: str) -> None:
    assert is_harmless(message), repr(message)


def refused_or_read(reader: Callable[..., Any], *arguments: Any, also: Any = ()) -> None:
    """Read it; a refusal is an error of ours with a line that a terminal can show."""
    try:
        reader(*arguments)
    except OpsError as error:
        assert_harmless(error.message)
    except also:
        return


def file_with(content: bytes) -> Path:
    path = FOLDER / f"opsapp-hostile-{os.getpid()}"
    path.write_bytes(content)
    path.chmod(0o600)
    return path


# --- what a terminal is shown ------------------------------------------------------


@target(value=words)
def text_that_is_shown(value: str) -> None:
    harmless = text.safe(value)
    assert is_harmless(harmless)
    assert text.safe(harmless) == harmless
    if value.isprintable():
        assert harmless == value


@target(names=st.lists(words, min_size=1, max_size=3))
def every_format(names: list[str]) -> None:
    rows = [{"name": name, "many": [name, name], "more": {name: name}} for name in names]
    columns = ["name", "many", "more"]
    drawn = [
        "".join(tables.of_rows(rows, columns)),
        tables.draw_table(rows),
        "".join(tables.full_tables(rows)),
        "".join(output._plain_lines(rows, columns)),
        "".join(output._json_array(rows)),
        "".join(output._csv_lines(rows)).replace("\r\n", "\n"),
        tables.of_difference(names),
    ]
    for row in rows:
        drawn += [tables.of_record(row), output._cell(row["many"])]
    for piece in drawn:
        for line in piece.split("\n"):
            assert_harmless(line.replace("\t", ""))


@target(names=st.lists(words, min_size=1, max_size=3))
def errors_questions_and_completion(names: list[str]) -> None:
    drawn: list[str] = []
    stderr = io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        click.Context(click.Command("x")) as ctx,
        contextlib.redirect_stderr(stderr),
    ):
        ctx.params = {"yes": False, "confirm": None}
        patch.setattr(confirm, "is_interactive", lambda: True)
        patch.setattr(confirm, "agrees", lambda question: drawn.append(question) or True)
        patch.setattr(confirm, "ask", lambda question: drawn.append(question) or "production")
        patch.setattr(completion, "_read", lambda *_arguments: names)
        for name in names:
            confirm.approve(f"Delete {name}?")
            confirm._approve_by_name(f"Delete {name}?", "production", None)
            for form in ("plain", "json"):
                patch.setattr(errors, "wanted_format", lambda form=form: form)
                errors._print("invalid", 2, f"{name} is not there", hint=f"flask {name}")
        offered = completion.names("user", "")
        for shell in (BashComplete, ZshComplete, FishComplete):
            complete = shell(click.Command("x"), {}, "flask", "_FLASK_COMPLETE")
            drawn += [complete.format_completion(CompletionItem(name)) for name in offered]
    for line in re.split("[\n\t]", "\n".join([*drawn, stderr.getvalue()])):
        assert_harmless(line)


# --- arguments and settings --------------------------------------------------------


@target(value=words)
def values(value: str) -> None:
    for reader in (addresses.clean, addresses.canonical, clock.duration, check_url):
        refused_or_read(reader, value)
    refused_or_read(libpq.normalize_address, value)
    refused_or_read(lambda rest: check_url(f"postgresql://{rest}"), value)
    for parser in (parsers.origin, parsers.integer, parsers.switch, parsers.mail_host):
        refused_or_read(parser, value, also=ValueError)


PATHS = sorted(path for path in command_tree.commands() if path != "completion")
OPTIONS = sorted(
    {
        option
        for command in command_tree.commands().values()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and option != "--help"
    }
)


@target(
    path=st.sampled_from(PATHS), arguments=st.lists(words | st.sampled_from(OPTIONS), max_size=5)
)
def arguments(path: str, arguments: list[str]) -> None:
    """A command line is parsed, or refused; the command itself does not run."""
    command, code = command_tree.commands()[path], 0
    try:
        command.make_context(path, arguments).close()
    except click.ClickException as error:
        code = error.exit_code
        assert_harmless(text.safe(error.format_message()))  # As the frame prints it.
    except OpsError as error:
        assert_harmless(error.message)
    except click.exceptions.Exit as end:
        code = end.exit_code
    assert code in (0, 2)


# --- files -------------------------------------------------------------------------

toml = st.recursive(
    st.one_of(words, st.integers(), st.booleans(), st.just("* * * * *"), st.just("1h")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from(list(fields.OF_JOB))


@target(
    jobs=st.dictionaries(words, st.dictionaries(keys, toml), max_size=3), cut=st.integers(0, 400)
)
def jobs_file(jobs: dict[str, dict[str, Any]], cut: int) -> None:
    lines = []
    for name, job in jobs.items():
        lines += [f'[jobs."{quoted(name)}"]']
        lines += [f"{key} = {written(value)}" for key, value in job.items()]
    content = "\n".join(lines)
    for tried in (content, content[:cut]):
        refused_or_read(schedule.parse, tried, Path("jobs.toml"))


def quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        return f'"{quoted(value)}"'
    return str(value).lower()


cells = st.one_of(
    words, st.sampled_from(["true", "a@x.com", "admin until 2090-01-01", "2090-01-01"])
)
headers = st.lists(st.sampled_from([*records.COLUMNS, "id", "x"]), min_size=1, max_size=4)


def _csv(header: list[str], rows: list[list[str]]) -> bytes:
    lines = [",".join(header), *(",".join(row) for row in rows)]
    return "\n".join(lines).encode(errors="surrogatepass")


def _jsonl(header: list[str], rows: list[list[Any]]) -> bytes:
    lines = [json.dumps(dict(zip(header, row, strict=False))) for row in rows]
    return "\n".join(lines).encode()


@target(
    content=st.one_of(
        st.binary(),
        st.builds(_csv, headers, st.lists(st.lists(cells, max_size=4), max_size=4)),
        st.builds(_jsonl, headers, st.lists(st.lists(cells | toml, max_size=4), max_size=4)),
    ),
    format=st.sampled_from(["csv", "jsonl"]),
)
def import_file(content: bytes, format: str) -> None:
    refused_or_read(_imported, file_with(content), format)


# It has no receivers: a mail server is not asked about addresses.
IMPORTING = Flask("import")


def _imported(path: Path, format: str) -> None:
    with IMPORTING.app_context(), Source(str(path), format=format) as source:
        for record in records.records_of(source, records.Columns({}))[1]:
            row = import_fields.parse(record, hash_passwords=True)
            if isinstance(row, import_fields.Reject):
                assert_harmless(text.safe(row))


@target(
    content=st.one_of(
        st.binary(),
        st.lists(
            st.builds(
                lambda n, mac, more: f'{{"n": {n}, "mac": {mac}, {more}}}'.encode(
                    errors="surrogatepass"
                ),
                st.sampled_from(["1", "2", "[]", "1e999", "null"]),
                st.sampled_from(['"x"', "1", "null", "[1]", '"\\ud800"']),
                st.sampled_from(['"kind": "input"', '"kind": {}', '"at": 1', '"text": "\\u001b"']),
            )
        ).map(b"\n".join),
    )
)
def transcript_file(content: bytes) -> None:
    contents = transcript.read(file_with(content), KEY)
    assert contents is not None
    assert contents.broken_at is not None or not contents.lines


scalars = st.one_of(words, st.integers(), st.floats(), st.none(), st.booleans())
shapes = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=8)


@target(stats=st.dictionaries(shapes, shapes, max_size=3))
def profile(stats: dict[Any, Any]) -> None:
    """The child fails or prints rows, and its parent shows them or refuses."""
    try:
        printed = json.dumps(prof_files.top(stats, 5))
    except Exception:  # noqa: BLE001  (any error is the end of the child)
        return
    for row in json.loads(printed):
        refused_or_read(lambda row: assert_harmless(prof_files._check_row(row)["function"]), row)


# --- the audit ---------------------------------------------------------------------


@target(place=st.integers(0, 300), inserted=words, length=st.integers(0, 5))
def checkpoint_line(place: int, inserted: str, length: int) -> None:
    line = chain.Checkpoint("c" * 36, 12, "a" * 64, "2026-01-01T00:00:00Z").line(KEY)
    changed = line[:place] + inserted + line[place + length :]
    refused_or_read(chain.Checkpoint.parse, changed, KEY)


AT = datetime(2026, 1, 1, tzinfo=UTC)
TOLD = (1, AT, "{}", "cli", "a:b:c", "user:1", None, None, '{"x": 1}', "c" * 36)
EVENT = dict(
    zip(
        verification._Event._fields,
        (*TOLD, chain.GENESIS, chain.link(KEY, chain.GENESIS, TOLD)),
        strict=True,
    )
)


@target(changes=st.dictionaries(st.sampled_from(list(EVENT)), scalars, max_size=3))
def audit_event(changes: dict[str, Any]) -> None:
    """The verifier finds each change of an event, and reads each one."""
    changed = {**EVENT, **changes}
    walk = verification._Walk(KEY, frozenset())
    rows = walk.over([verification._Event(**changed)])
    is_whole = all(
        type(changed[name]) is type(value) and changed[name] == value
        for name, value in EVENT.items()
    )
    assert bool(rows) is is_whole, changes
    if walk.broken:
        assert_harmless(walk.broken[2])
