"""Hostile input: every reader answers or refuses in its own words, every renderer is harmless."""

from __future__ import annotations

import marshal
import os
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opsapp import addresses, clock, libpq, parsers, text
from opsapp.cli import output, tables
from opsapp.console import transcript
from opsapp.engine.connections import checked_url
from opsapp.errors import OpsError
from opsapp.jobs import fields, schedule
from opsapp.profiling.record import prof_files
from opsapp.unit.chain import Checkpoint
from tests.faults import tally
from tests.faults.amounts import IS_LONG, dice, times
from tests.support import Cli, command_tree

OBEYED = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
KEY = b"k" * 32
EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 74, 75}

# Letters with surrogates, as argv has them, and the characters that parsers trip over.
words = st.text(st.one_of(st.characters(), st.sampled_from("²٣\u202e\x1b\0\ud800/@:%[]{}=\"'")))


@pytest.fixture
def kind() -> str:
    return "sqlite"  # The readers do not know which database there is.


def many(test: Callable[..., None]) -> Callable[..., None]:
    """Give a property the number of examples of this run, and count them."""

    def counted(**arguments: Any) -> None:
        test(**arguments)
        tally.count("Hostile input", test.__name__.removeprefix("test_"), "", "examples")

    counted.__name__, counted.__doc__ = test.__name__, test.__doc__
    counted.__wrapped__ = test  # type: ignore[attr-defined]
    return settings(
        max_examples=times(100, 20_000),
        deadline=None,
        derandomize=not IS_LONG,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )(counted)


def is_harmless(line: str) -> bool:
    return not any(unicodedata.category(character) in OBEYED for character in line)


# --- what a terminal is shown ------------------------------------------------------


@given(value=words)
@many
def test_safe_leaves_nothing_that_a_terminal_obeys(value: str) -> None:
    shown = text.safe(value)
    assert is_harmless(shown)
    assert text.safe(shown) == shown
    if value.isprintable():
        assert shown == value


@given(names=st.lists(words, min_size=1, max_size=3))
@many
def test_every_format_leaves_nothing_that_a_terminal_obeys(names: list[str]) -> None:
    rows = [{"name": name, "many": [name, name], "more": {name: name}} for name in names]
    columns = ["name", "many", "more"]
    drawn = [
        "".join(tables.of_rows(rows, columns)),
        tables.drawn(rows),
        "".join(tables.whole(rows)),
        "".join(output._plain_lines(rows, columns)),
        "".join(output._json_array(rows)),
    ]
    for row in rows:
        drawn += [tables.of_record(row), output._cell(row["many"])]
    for piece in drawn:
        for line in piece.split("\n"):
            assert is_harmless(line.replace("\t", "")), repr(line)


# --- files and arguments -----------------------------------------------------------


def refused_or_read(reader: Callable[..., Any], *arguments: Any, also: Any = ()) -> None:
    """Read it; a refusal is an error of ours with a line that a terminal can show."""
    try:
        reader(*arguments)
        message = ""
    except OpsError as error:
        message = error.message
    except also:
        message = ""
    assert is_harmless(message), repr(message)


@given(value=words)
@many
def test_values_are_read_or_refused(value: str) -> None:
    for reader in (addresses.clean, addresses.canonical, clock.duration, checked_url):
        refused_or_read(reader, value)
    refused_or_read(libpq.spelled, value)
    refused_or_read(lambda rest: checked_url(f"postgresql://{rest}"), value)
    for parser in (parsers.origin, parsers.integer, parsers.switch, parsers.mail_host):
        refused_or_read(parser, value, also=ValueError)


toml = st.recursive(
    st.one_of(words, st.integers(), st.booleans(), st.just("* * * * *"), st.just("1h")),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)
keys = st.sampled_from(list(fields.OF_JOB))


@given(
    jobs=st.dictionaries(words, st.dictionaries(keys, toml), max_size=3), cut=st.integers(0, 400)
)
@many
def test_jobs_file_is_read_or_refused(jobs: dict[str, dict[str, Any]], cut: int) -> None:
    lines = []
    for name, job in jobs.items():
        lines += [f'[jobs."{quoted(name)}"]']
        lines += [f"{key} = {written(value)}" for key, value in job.items()]
    content = "\n".join(lines)
    for tried in (content, content[:cut]):
        refused_or_read(schedule.parsed, tried, Path("jobs.toml"))


def quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def written(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, str):
        return f'"{quoted(value)}"'
    return str(value).lower()


@given(place=st.integers(0, 300), inserted=words, length=st.integers(0, 5))
@many
def test_checkpoint_is_read_or_refused(place: int, inserted: str, length: int) -> None:
    line = Checkpoint("c" * 36, 12, "a" * 64, "2026-01-01T00:00:00Z").line(KEY)
    changed = line[:place] + inserted + line[place + length :]
    refused_or_read(Checkpoint.parse, changed, KEY)


@given(
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
@many
def test_transcript_is_read_whatever_it_holds(content: bytes) -> None:
    path = Path(f"/dev/shm/opsapp-transcript-{os.getpid()}")  # noqa: S108  (of this process only)
    path.write_bytes(content)
    try:
        contents = transcript.read(path, KEY)
    finally:
        path.unlink()
    assert contents is not None
    assert contents.broken_at is not None or not contents.lines


def test_damaged_profiles_are_read_or_refused(app: Flask, tmp_path: Path) -> None:
    chance = dice("profiles")
    stats = {(f"f{n}.py", n, f"name{n}"): (1, 1, 0.1, 0.2, {}) for n in range(5)}
    whole = marshal.dumps(stats)
    path = tmp_path / "x.prof"
    for _ in range(times(5, 300)):
        damaged = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        path.write_bytes(damaged)
        path.chmod(0o600)
        refused_or_read(lambda: prof_files.read(path, count=5, sort="self"))
        tally.count("Hostile input", "damaged .prof file", "", "examples")


# --- command lines -----------------------------------------------------------------

WAITS = {"run", "serve", "shell", "tail", "restore", "request", "flame"}
"""Words of the commands that do not end by themselves, or start what they are told to."""
HOSTILE = (
    *("", "\x1b]0;x\x07", "\u202e", "²", "-1", "1" * 5000, "../../etc/passwd", "a\0b", "\ud800"),
    *("' OR 1=1 --", "%s%n", "@", "=cmd()", "2026-13-45", "9" * 30, "user:1", "*", "--"),
    *("--format", "json", "--limit", "--since", "--fields", "--yes", "--dry-run", "--all"),
)


def test_hostile_arguments_are_refused_in_one_line(cli: Cli) -> None:
    chance = dice("arguments")
    paths = [path.split() for path in command_tree.commands() if not WAITS & set(path.split())]
    for _ in range(times(60, 10_000)):
        arguments = [*chance.choice(paths), *chance.choices(HOSTILE, k=chance.randrange(4))]
        done = cli(*arguments)
        assert done.exit_code in EXIT_CODES, (arguments, done)
        assert "Traceback" not in done.stderr, (arguments, done)
        assert "something unexpected" not in done.stderr, (arguments, done)
        assert all(map(is_harmless, re.split("[\n\t]", done.stderr))), (arguments, done)
        tally.count("Hostile input", "command line", "SQLite", f"exit {done.exit_code}")
