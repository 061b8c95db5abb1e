"""Hostile input: every reader answers or refuses in its own words, every renderer is harmless."""

from __future__ import annotations

import importlib.util
import marshal
import re
import subprocess
import sys
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import HealthCheck, settings

from opsapp.profiling.record import prof_files
from tests.faults import amounts, tally
from tests.faults.amounts import IS_LONG, dice, times, trials
from tests.faults.decoding import ARGUMENTS
from tests.faults.properties import TARGETS, is_harmless, refused_or_read
from tests.support import ROOT, Cli, command_tree

EXIT_CODES = {0, 1, 2, 3, 4, 5, 6, 7, 74, 75}
RUNS = times(0, 1_000_000)


@pytest.fixture
def kind() -> str:
    return "sqlite"  # The readers do not know which database there is.


@pytest.mark.parametrize("name", TARGETS)
def test_generated_input_is_read_or_refused(name: str) -> None:
    examples = times(60, 20_000)
    bounded = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=not IS_LONG,
        suppress_health_check=[HealthCheck.too_slow],
    )
    bounded(TARGETS[name])()
    tally.count("Hostile input", name, "", "examples", examples)


def test_fuzzer_has_arguments_for_every_target() -> None:
    assert ARGUMENTS.keys() == TARGETS.keys()


@pytest.mark.skipif(not IS_LONG, reason="the fuzzer is for the long form")
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="there is no atheris")
@pytest.mark.parametrize("name", TARGETS)
def test_fuzzed_input_is_read_or_refused(name: str, tmp_path: Path) -> None:
    options = ["--runs", str(RUNS)]
    if amounts.MINUTES:
        options += ["--seconds", str(int(amounts.share))]
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.fuzz", name, *options, "--folder", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    runs = re.search(r"stat::number_of_executed_units: (\d+)", done.stderr)
    assert done.returncode == 0, done.stderr[-3000:]
    assert runs, done.stderr[-3000:]
    tally.count("Hostile input", name, "", "runs of the fuzzer", int(runs[1]))


def test_damaged_profiles_are_read_or_refused(app: Flask, tmp_path: Path) -> None:
    chance = dice("profiles")
    stats = {(f"f{n}.py", n, f"name{n}"): (1, 1, 0.1, 0.2, {}) for n in range(5)}
    whole = marshal.dumps(stats)
    path = tmp_path / "x.prof"
    for _ in trials(5, 1000):
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
    for _ in trials(60, 10_000):
        arguments = [*chance.choice(paths), *chance.choices(HOSTILE, k=chance.randrange(4))]
        done = cli(*arguments)
        assert done.exit_code in EXIT_CODES, (arguments, done)
        assert "Traceback" not in done.stderr, (arguments, done)
        assert "something unexpected" not in done.stderr, (arguments, done)
        assert all(map(is_harmless, re.split("[\n\t]", done.stderr))), (arguments, done)
        tally.count("Hostile input", "command line", "SQLite", f"exit {done.exit_code}")
