"""`flask users import`: files of every format and compression, and those that are none."""

from __future__ import annotations

import csv
import errno
import gzip
import json
import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from opsapp.accounts.transfer import records, sources
from opsapp.errors import Invalid
from tests.support import Cli, Database


@pytest.fixture
def people(database: Database, bob: str) -> Path:
    """The path of a file to import; Ada (1) and Bob (2) are there."""
    return database.instance.parent / "people.csv"


def emails_and_names(database: Database) -> list[tuple[Any, ...]]:
    """The accounts that were imported."""
    return database.rows("SELECT email, username FROM ops_users WHERE id > 2 ORDER BY id")


ROWS = [("cyd@example.com", "cyd"), ("müller@example.com", "mü")]
LINES = "email,username\n" + "".join(f"{email},{name}\n" for email, name in ROWS)
OBJECTS = "".join(json.dumps({"email": email, "username": name}) + "\n" for email, name in ROWS)


def _zstd(content: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    compressed: bytes = import_module(name).compress(content)
    return compressed


READABLE: dict[str, tuple[str, bytes, tuple[str, ...]]] = {
    "jsonl": ("p.jsonl", OBJECTS.encode(), ()),
    "jsonl of Windows": ("p.jsonl", b"\xef\xbb\xbf" + OBJECTS.replace("\n", "\r\n").encode(), ()),
    "gzip": ("p.csv.gz", gzip.compress(LINES.encode()), ()),
    "gzip of another system": ("P.CSV.GZ", gzip.compress(LINES.encode()), ()),
    "two zstd frames": ("p.csv.zst", _zstd(LINES[:40].encode()) + _zstd(LINES[40:].encode()), ()),
    "tabs": ("p.txt", LINES.replace(",", "\t").encode(), ("--input-format", "csv")),
    "latin-1": ("p.csv", LINES.encode("latin-1"), ("--encoding", "latin-1")),
    "another name of UTF-8": ("p.csv", b"\xef\xbb\xbf" + LINES.encode(), ("--encoding", "utf8")),
    "a mark beside its encoding": (
        "p.csv",
        ("\ufeff" + LINES).encode("utf-16-le"),
        ("--encoding", "utf-16le"),
    ),
    "gzip by its content": ("p.csv", gzip.compress(LINES.encode()), ()),
    "utf-16": ("p.csv", LINES.encode("utf-16"), ("--encoding", "UTF-16")),
    "stdin": ("-", LINES.encode(), ()),
    "gzip on stdin": ("-", gzip.compress(OBJECTS.encode()), ("--input-format", "jsonl")),
    "columns of others": (
        "p.csv",
        LINES.replace("email,", " E-Mail ,").replace("username", "a=b").encode(),
        ("--map", "E-Mail=email", "--map", "a=b=username", "--map", "*="),
    ),
}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("case", READABLE)
def test_import_reads(case: str, cli: Cli, database: Database, people: Path) -> None:
    name, content, options = READABLE[case]
    file = str(people.with_name(name)) if name != "-" else name
    if name != "-":
        Path(file).write_bytes(content)
    done = cli("users", "import", file, *options, stdin=content if name == "-" else None)
    assert (done.exit_code, done.stderr) == (0, "Done, audit event 6.\n")
    assert emails_and_names(database) == ROWS


# --- files that are none -----------------------------------------------------

NO_FILE: dict[str, tuple[str, bytes, tuple[str, ...], str]] = {
    "empty": (
        "p.csv", b"", (),
        "p.csv is empty\n  → its first line names columns: email,username,active\n",
    ),
    "unknown columns": (
        "p.csv", b"E-Mail,usrname,Shoe size\n", (),
        "no such column: E-Mail, usrname, Shoe size\n"
        "  → --map 'E-Mail=email' --map 'usrname=username' --map 'Shoe size='\n",
    ),
    "no address": ("p.csv", b"username\n", (), "no column is email\n  → --map 'NAME=email'\n"),
    "twice": (
        "p.csv", b"email,Email\n", (),
        "two columns are email\n  → --map 'NAME=' leaves one out\n",
    ),
    "map of nothing": (
        "p.csv", b"email\n", ("--map", "Mail=email"),
        "--map Mail: the file has no such column\n",
    ),
    "map to nothing": (
        "p.csv", b"email\n", ("--map", "a=emial"),
        "--map a=emial: columns are email, username, active, confirmed, password, roles, until\n"
        "  → did you mean email?\n",
    ),
    "map": (
        "p.csv", b"email\n", ("--map", "a"),
        "--map a is not of the form THEIRS=OURS, each once\n",
    ),
    "open quote": (
        "p.csv", b'email\n"a@example.com\nb@example.com\n', (),
        "p.csv line 2: unexpected end of data\n"
        "  → the rows after it cannot be parsed: fix the file\n",
    ),
    "long line": (
        "p.csv", b"email\n" + b"x" * 200, (),
        "p.csv line 2 is longer than 99 characters\n",
    ),
    "cut gzip": ("p.csv.gz", gzip.compress(LINES.encode())[:-9], (), "p.csv.gz is cut off\n"),
    "cut zstd": ("p.csv.zst", _zstd(LINES.encode())[:-3], (), "p.csv.zst is cut off\n"),
    "no gzip": (
        "p.csv.gz", LINES.encode(), (),
        "p.csv.gz is no .gz file: Not a gzipped file (b'em')\n",
    ),
    "no encoding": ("p.csv", b"email\n", ("--encoding", "utf-9"), "--encoding utf-9 is unknown\n"),
    "no text encoding": ("p.csv", b"email\n", ("--encoding", "hex"), "--encoding hex is unknown\n"),
    "no utf-16": (
        "p.csv", b"email", ("--encoding", "utf-16"),
        "p.csv is not utf-16: UTF-16 stream does not start with BOM\n",
    ),
    "utf-16 unsaid": (
        "p.csv", "email\n".encode("utf-16"), (),
        "p.csv is UTF-16 and not UTF-8\n  → --encoding utf-16\n",
    ),
    "utf-16 without its mark": (
        "p.csv", "email\n".encode("utf-16-le"), (),
        "the header has bytes of another encoding\n  → --encoding NAME\n",
    ),
    "EBCDIC": (
        "p.csv", "email\n".encode("cp500"), (),
        "the header has bytes of another encoding\n  → --encoding NAME\n",
    ),
    "mark of UTF-8": (
        "p.csv", b"\xef\xbb\xbfemail\n", ("--encoding", "cp1252"),
        "p.csv is UTF-8 and not CP1252\n"
        "  → --encoding utf-8; or remove its byte-order mark: tail -c +4 p.csv\n",
    ),
    "mark of UTF-16": (
        "p.csv", "email\n".encode("utf-16"), ("--encoding", "cp1252"),
        "p.csv is UTF-16 and not CP1252\n  → --encoding utf-16\n",
    ),
    "format": (
        "p.txt", b"email\n", (),
        "p.txt is named neither .csv nor .jsonl\n  → rename it, or --input-format csv\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("case", NO_FILE)
def test_import_refuses(case: str, cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LONGEST_LINE", 99)
    name, content, options, error = NO_FILE[case]
    file = people.with_name(name)
    file.write_bytes(content)
    done = cli("users", "import", str(file), *options)
    error = error.replace("p.txt is", f"{file} is")
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", f"Error: {error}")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_refuses_folders_and_takes_a_header_alone(cli: Cli, people: Path) -> None:
    done = cli("users", "import", str(people.parent), "--input-format", "csv")
    assert (done.exit_code, done.stderr) == (
        2, f"Error: {people.parent} is not a regular file\n",
    )  # fmt: skip
    missing = cli("users", "import", str(people))
    assert missing.exit_code == 2
    assert missing.stderr == f"Error: {people}: No such file or directory\n"
    people.write_text("email,username\n")
    alone = cli("users", "import", str(people), "--fields", "rows")
    assert (alone.exit_code, alone.stdout) == (0, "field\tvalue\nrows\t0\n")
    assert alone.stderr == "The file has no rows: nothing was changed.\n"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_rejects_never_replace_the_file_to_import(cli: Cli, people: Path) -> None:
    people.write_text("email,username\ncyd@example.com,1\ndan@example.com,dan\n")
    before, link = people.read_bytes(), people.with_name("link.csv")
    link.symlink_to(people)
    for name in (people, link):
        done = cli("users", "import", str(people), "--rejects", str(name))
        error = f"Error: --rejects {name} is the file to import\n  → name another file\n"
        assert (done.exit_code, done.stdout, done.stderr) == (2, "", error)
        assert people.read_bytes() == before
    other = people.with_suffix(".jsonl.gz")
    done = cli("users", "import", str(people), "--rejects", str(other))
    error = f"Error: --rejects {other} would be csv, as its source\n  → rename it\n"
    assert (done.exit_code, done.stdout, done.stderr) == (2, "", error)


@pytest.mark.parametrize("kind", ["sqlite"])
def test_rejects_run_as_no_formula_and_are_imported_as_before(cli: Cli, people: Path) -> None:
    rejects = people.with_name("rejects.csv")
    people.write_text(
        "email,username,password,=note\n"
        "@x,,=Secret words of a cell,-1\n"
        "'=a@example.com,=b,,\n"
        "+c@example.com,1,,'=d\n"
    )
    options = ("--on-error", "skip", "--hash-passwords", "--map", "=note=")
    args = ("users", "import", str(people), *options, "--rejects", str(rejects))
    assert cli(*args).exit_code == 6
    header, *rows = csv.reader(rejects.read_text().splitlines())
    assert header[3] == "'=note"
    assert [row[:4] for row in rows] == [
        ["'@x", "", "=Secret words of a cell", "'-1"],
        ["'=a@example.com", "'=b", "", ""],
        ["'+c@example.com", "1", "", "'=d"],
    ]
    assert rows[0][-1].startswith("'@x: ")
    rejects.write_text(f"{','.join(header)}\n'=a@example.com,,=Secret words of a cell,,,,\n")
    mended = cli("users", "import", str(rejects), "--hash-passwords", "--map", "'=note=")
    assert mended.exit_code == 0, mended.stderr
    assert cli("users", "show", "=a@example.com").exit_code == 0


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8-sig", "utf-16"])
def test_rejects_are_in_the_encoding_of_their_source(cli: Cli, people: Path, encoding: str) -> None:
    rejects = people.with_name("rejects.csv")
    role = "\u3042" * 99  # Of which the reason shows the beginning, and an ellipsis.
    people.write_text(
        f"email,roles\na@example.com,{'r' * 99}\nb@example.com,{role}\n",
        encoding=encoding,
        errors="replace",
    )
    done = cli(
        *("users", "import", str(people), "--check", "--encoding", encoding.removesuffix("-sig")),
        *("--rejects", str(rejects)),
    )
    assert (done.exit_code, done.stderr.count("no role")) == (6, 2)
    assert rejects.read_bytes()[:2] == people.read_bytes()[:2]
    _header, first, _second = csv.reader(rejects.read_text(encoding=encoding).splitlines())
    assert first[0] == "a@example.com"
    ellipsis = "\\u2026" if encoding == "ascii" else "…"
    assert first[-1] == f"no role {'r' * 60}{ellipsis}; flask roles list"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_input_that_does_not_fit_is_no_answer_that_could_not_be_written(
    cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(sources.shutil, "copyfileobj", full)
    done = cli("users", "import", "-", stdin="email\n")
    message = f"the input cannot be kept in {tempfile.gettempdir()}: No space left on device"
    assert (done.exit_code, done.stdout, done.stderr) == (
        1, "", f"Error: {message}\n  → TMPDIR=FOLDER names another place\n",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite"])
def test_rejects_keep_every_cell_of_a_row_of_another_length(cli: Cli, people: Path) -> None:
    first, second = people.with_name("first.csv"), people.with_name("second.csv")
    people.write_text("email,roles\na@example.com,support,auditor,=1\nb@example.com\n")
    for source, rejects in ((people, first), (first, second)):
        done = cli("users", "import", str(source), "--on-error", "skip", "--rejects", str(rejects))
        assert (done.exit_code, done.stderr.count(", and the header has ")) == (6, 2)
    assert first.read_text() == (
        "email,roles,rejected_line,rejected_column,rejected_because\n"
        'a@example.com,support,2,,"has 4 cells, and the header has 2",auditor,\'=1\n'
        'b@example.com,,3,,"has 1 cell, and the header has 2",\n'
    )
    _header, *rows = csv.reader(second.read_text().splitlines())
    assert [[*row[:2], *row[5:]] for row in rows] == [
        ["a@example.com", "support", "auditor", "'=1"],
        ["b@example.com", "", ""],
    ]


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_refuses_an_object_with_a_name_twice(cli: Cli, people: Path) -> None:
    file = people.with_suffix(".jsonl")
    file.write_text('{"email": "cyd@example.com", "email": "dan@example.com"}\n')
    done = cli("users", "import", str(file), "--check")
    assert (done.exit_code, done.stderr) == (
        6, "Line 1: is no JSON: a name is there twice\nChecked 1 row: nothing was written.\n",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["sqlite"])
def test_import_without_the_extra_says_what_to_type(
    cli: Cli, people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if sys.version_info >= (3, 14):
        pytest.skip("Python 3.14 has zstd itself")
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    people.with_suffix(".csv.zst").write_bytes(_zstd_before)
    done = cli("users", "import", str(people.with_suffix(".csv.zst")))
    assert (done.exit_code, done.stderr) == (
        7,
        "Error: this needs backports, which is not installed\n  → pip install 'opsapp[zstd]'\n",
    )


_zstd_before = _zstd(LINES.encode())


@pytest.mark.parametrize("kind", ["sqlite"])
def test_row_that_goes_on_over_lines_has_a_limit(cli: Cli, people: Path) -> None:
    cell = '"' + "x\n" * 1000 + '",'
    people.write_text("email\na@example.com\n" + cell * 1000)
    done = cli("users", "import", str(people))
    assert (done.exit_code, done.stdout) == (2, "")
    assert "a row is longer than 1,048,576 characters" in done.stderr
    people.write_text("email,username\n" + "".join(f"user{n}@example.com,\n" for n in range(9)))
    assert cli("users", "import", str(people)).exit_code == 0


def test_delimiter_in_a_refusal_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    for content, line in (('"email"x\t\t\n', 1), ('email\tusername\n"a"x\t\n', 2)):
        path.write_text(content)
        with sources.Source(str(path)) as source, pytest.raises(Invalid) as raised:
            list(records.records_of(source, records.Columns({}))[1])
        expected = f"people.csv line {line}: '\\x09' expected after '\"'"
        assert raised.value.message == expected
