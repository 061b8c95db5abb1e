"""Output and input with any encoding of the terminal, closed streams and strange files."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from opsapp import entrypoints, settings, textfiles
from opsapp.cli import streams
from opsapp.errors import LONGEST, NotReady, brief
from tests.support import FLASK, PASSWORD, Cli, Database, Result, run_afresh

MAIN = "import sys; from opsapp.entrypoints import main; main()"
OPSAPP = f"""{Path(FLASK).with_name("python")} -c '{MAIN}' "$@\""""

ASCII = {"PYTHONIOENCODING": "ascii:strict"}
IN_C = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
"""For what is the same whatever database answers: each test starts real processes."""


def shell(database: Database, line: str, **environ: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        ["/bin/bash", "-c", line],
        env={**database.environ, **environ, "FLASK": FLASK},
        cwd=database.instance,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr


# --- encodings ---------------------------------------------------------------


@ON_SQLITE
@pytest.mark.parametrize("environ", [ASCII, IN_C], ids=["ascii", "C"])
def test_character_that_the_terminal_lacks_is_escaped(
    database: Database, cli: Cli, environ: dict[str, str]
) -> None:
    cli("roles", "create", "zoe", "--description", "zoë – b", check=True)
    for format in ("table", "csv"):
        found = run_afresh(database, "roles", "list", "--format", format, **environ)
        assert (found.exit_code, found.stderr) == (0, "")
        assert "zo\\xeb \\u2013 b" in found.stdout
    words = ("users", "create", "zoe@example.com", "--generate-password", "--format", "table")
    made = run_afresh(database, *words, **environ)
    assert made.exit_code == 0
    assert "username  \\u2013\n" in made.stdout
    assert "password  " in made.stdout


@ON_SQLITE
def test_terminal_of_latin_1_gets_its_own_letters(database: Database, cli: Cli) -> None:
    cli("roles", "create", "zoe", "--description", "zoë – b", check=True)
    code, stdout, _ = shell(database, '"$FLASK" roles list', PYTHONIOENCODING="latin-1")
    assert code == 0
    assert b"zoe\tzo\xeb \\u2013 b\t" in stdout


@ON_SQLITE
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (r"""query $'select "\xff"'""", "the statement is not UTF-8 at byte 9"),
        (r"""shell -c $'print("\xff")'""", "-c is not UTF-8 at byte 8"),
    ],
)
def test_word_that_is_not_utf_8_is_2(database: Database, ada: str, words: str, says: str) -> None:
    assert shell(database, f'"$FLASK" {words}') == (2, b"", f"Error: {says}\n".encode())


# --- closed and full streams -------------------------------------------------


@ON_SQLITE
@pytest.mark.parametrize(
    "words", ["--help", "users --help", "db history", "db heads", "routes", "shell -c 'print(1)'"]
)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_stdout_that_cannot_be_written_is_74_in_one_line(
    database: Database, ada: str, words: str, unbuffered: str
) -> None:
    for where, says in (
        (">&-", b"stdout is closed"),
        (">/dev/full", b"the output could not be written (No space left on device)"),
    ):
        ended = shell(database, f'"$FLASK" {words} {where}', PYTHONUNBUFFERED=unbuffered)
        assert ended == (74, b"", b"Error: " + says + b"\n")


def test_token_that_was_not_printed_is_reported_as_lost(database: Database, ada: str) -> None:
    code, _, stderr = shell(database, '"$FLASK" users tokens create ada ci >/dev/full')
    assert code == 74
    assert stderr.decode().splitlines()[1] == (
        "  → the token is lost: flask users tokens revoke ada@example.com ci"
    )


@pytest.mark.parametrize(
    "words", ["users create bob@example.com", "users create-admin bob@example.com"]
)
def test_generated_password_that_was_not_printed_is_lost(
    database: Database, ada: str, words: str
) -> None:
    code, _, stderr = shell(database, f'"$FLASK" {words} --generate-password >/dev/full')
    assert code == 74
    assert stderr.decode().splitlines()[1] == (
        "  → the password is lost: flask users set-password bob@example.com --generate-password"
    )


@ON_SQLITE
def test_removed_folder_is_7(database: Database, ada: str) -> None:
    line = 'mkdir gone && cd gone && rmdir ../gone && "$FLASK" users list'
    expected = b"Error: the current folder was removed\n  \xe2\x86\x92 cd into another one\n"
    assert shell(database, line) == (7, b"", expected)


@pytest.fixture
def opsapp_program(database: Database) -> Callable[..., Result]:
    """The program `opsapp`, which reads ``.env`` files."""

    def run(folder: Path, *words: str, program: str = OPSAPP) -> Result:
        environ = {**database.environ, "FLASK_SKIP_DOTENV": ""}
        done = subprocess.run(
            ["/bin/sh", "-c", program, "opsapp", *words],
            env=environ,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    return run


@ON_SQLITE
def test_env_file_that_is_not_utf_8_is_7(
    opsapp_program: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(b"X=\xff\n")
    assert opsapp_program(tmp_path, "roles", "list") == Result(
        7,
        "",
        f"Error: {tmp_path}/.env cannot be read: 'utf-8' codec can't decode byte 0xff in"
        " position 2: invalid start byte\n",
    )


@ON_SQLITE
def test_env_file_from_windows_is_read(
    opsapp_program: Callable[..., Result], ada: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_bytes(b"\xef\xbb\xbfOPSAPP_FORMAT=csv\r\n")
    found = opsapp_program(tmp_path, "users", "list", "--fields", "email")
    assert found == Result(0, "email\nada@example.com\n", "")


@ON_SQLITE
def test_removed_folder_is_7_for_opsapp_as_well(
    opsapp_program: Callable[..., Result], tmp_path: Path
) -> None:
    program = f"mkdir gone && cd gone && rmdir ../gone && {OPSAPP}"
    expected = Result(7, "", "Error: the current folder was removed\n  → cd into another one\n")
    assert opsapp_program(tmp_path, program=program) == expected
    assert opsapp_program(tmp_path, "users", "list", program=program) == expected


@ON_SQLITE
@pytest.mark.parametrize("stream", [">&-", ">/dev/full"])
def test_version_that_cannot_be_written_is_74(
    opsapp_program: Callable[..., Result], tmp_path: Path, stream: str
) -> None:
    done = opsapp_program(tmp_path, "--version", program=f"{OPSAPP} {stream}")
    assert (done.exit_code, done.stdout) == (74, "")
    assert done.stderr.count("\n") == 1


def test_folder_that_dotenv_cannot_enter_is_7(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def unreadable(*_args: object, **_options: object) -> str:
        raise OSError("Starting path not found")

    monkeypatch.delenv("FLASK_SKIP_DOTENV", raising=False)
    monkeypatch.setattr("dotenv.find_dotenv", unreadable)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NotReady, match=rf"^{tmp_path} cannot be read: Starting path not found$"):
        entrypoints._check_env_files()


# --- a user without a name or a home -------------------------------------------


@pytest.fixture
def nameless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user that is in no passwd file, with no HOME."""

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    for name in ("HOME", "USER", "LOGNAME", "LNAME", "USERNAME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("users", "list"),
        ("jobs", "run", "x", "--", "true"),
        ("jobs", "install", "--format", "crontab"),
        ("shell", "-c", "pass"),
        ("query", "select 1"),
    ],
    ids=" ".join,
)
def test_user_without_a_name_and_a_home_can_work(
    cli: Cli, ada: str, nameless: None, words: tuple[str, ...]
) -> None:
    found = cli(*words)
    assert (found.exit_code, "Traceback" in found.stderr) == (0, False), found.stderr


def test_unit_of_a_user_without_a_name_has_the_number(cli: Cli, ada: str, nameless: None) -> None:
    found = cli("jobs", "install", "--format", "systemd", check=True)
    assert f"User={os.getuid()}\n" in found.stdout


def test_installation_of_a_user_without_a_home_has_no_place(
    nameless: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("opsapp.settings.declared.ROOT", tmp_path)  # No checkout.
    with pytest.raises(NotReady, match=r"^this user has no home folder\n") as caught:
        settings.get("OPSAPP_INSTANCE", {})
    assert caught.value.hint == "set OPSAPP_INSTANCE to the folder of this installation"


# --- long and hostile values -------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("users", "list", "--status"),
        ("users", "list"),
        ("db", "upgrade"),
        ("audit", "verify", "--checkpoint"),
        ("query", "--file"),
        ("query",),
        ("roles", "show"),
    ],
    ids=" ".join,
)
def test_value_is_never_echoed_raw_or_whole(cli: Cli, ada: str, words: tuple[str, ...]) -> None:
    found = cli(*words, "\x1b[31m" + "a" * 100_000)
    assert found.exit_code in (1, 2)
    assert "\x1b" not in found.stderr
    assert len(found.stderr) < 2 * LONGEST


def test_long_message_keeps_its_start_and_its_end() -> None:
    assert brief("short") == "short"
    cut = brief("start " + "a" * 100_000 + " end")
    assert cut.startswith("start a")
    assert cut.endswith("a end")
    assert len(cut) <= LONGEST


# --- files -------------------------------------------------------------------


def test_text_is_read_without_mark_and_carriage_returns(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"\xef\xbb\xbfone\r\ntwo\r\n")
    assert textfiles.read(file) == "one\ntwo\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"one\ntwo\xff\n", "is not UTF-8 in line 2"),
        ("one".encode("utf-16"), "is UTF-16 and not UTF-8"),
        ("one".encode("utf-32"), "is UTF-32 and not UTF-8"),
        (b"123456789", "is longer than 8 bytes"),
    ],
)
def test_file_that_is_no_text_says_why(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "text"
    file.write_bytes(content)
    longest = 8 if content.isdigit() else 100
    with pytest.raises(textfiles.NotText, match=f"^{says}$"):
        textfiles.read(file, longest=longest)


def test_what_never_ends_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(textfiles.NotText, match=r"^is not a regular file$"):
            textfiles.read(path, pipe=True)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_name_that_no_file_has_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(textfiles.NotText, match=r"^is not a file name$"):
        textfiles.read(tmp_path / name)


@ON_SQLITE
def test_mark_of_windows_is_no_part_of_a_password(database: Database, ada: str) -> None:
    line = (
        'printf \'\\xef\\xbb\\xbf%s\\r\\n\' "$TYPED" | "$FLASK" users set-password ada'
        " --password-file /dev/stdin"
    )
    code, stdout, stderr = shell(database, line, TYPED=PASSWORD)
    assert (code, stderr) == (0, b"Already so: nothing was changed.\n")
    assert b"changed\tfalse\n" in stdout


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (PASSWORD.encode("utf-16"), "stdin is UTF-16 and not UTF-8"),
        (PASSWORD.encode("utf-16-le"), "the first line of stdin has a control character, which"
         " cannot be typed"),
        (PASSWORD.encode() + b"\xff", "the first line of stdin is not UTF-8"),
        (b"a1-" * 50, "password: A password must have at most 128 characters."),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "Latin-1", "150 characters"],
)  # fmt: skip
@pytest.mark.parametrize(
    "words",
    [
        ("users", "set-password", "ada", "--password-stdin"),
        ("users", "create", "bob@example.com", "--password-stdin"),
        ("users", "create-admin", "bob@example.com", "--password-stdin"),
        ("users", "set-password", "ada", "--password-file", "secret"),
    ],
    ids=" ".join,
)
def test_password_that_cannot_be_typed_or_is_too_long_is_2(
    cli: Cli, database: Database, ada: str, words: tuple[str, ...], content: bytes, says: str
) -> None:
    secret = database.instance / "secret"
    secret.write_bytes(content)
    secret.chmod(0o600)
    found = cli(*words, stdin=content)
    secret.unlink()
    if "--password-file" in words:
        says = says.replace("stdin", "secret")
    assert (found.exit_code, found.stdout, found.stderr) == (2, "", f"Error: {says}\n")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("x=" + "[" * 100_000, "it is nested too deeply"),
        ("x=" + "1" * 5000, "Exceeds the limit"),
    ],
)
def test_schedule_that_no_reader_takes_is_7(
    cli: Cli, tmp_path: Path, content: str, says: str
) -> None:
    file = tmp_path / "jobs.toml"
    file.write_text(content)
    found = cli("jobs", "schedule", OPSAPP_JOBS=str(file))
    assert (found.exit_code, found.stdout) == (7, "")
    assert found.stderr.startswith(f"Error: {file} cannot be read: {says}")


@ON_SQLITE
def test_help_is_escaped_where_click_would_write_utf_8(database: Database) -> None:
    found = run_afresh(database, "roles", "grant", "--help", **ASCII)
    assert found.exit_code == 0
    assert "USER\\u2026" in found.stdout
    assert found.stdout.isascii()


def test_words_are_printable_where_click_would_write_utf_8() -> None:
    with Path(os.devnull).open("w", encoding="ascii") as stream:
        assert streams.printable("a – b", stream) == "a \\u2013 b"
