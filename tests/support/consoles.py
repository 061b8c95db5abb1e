"""A console at a real terminal, with a user who types; its process is forked."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pexpect
from pexpect.fdpexpect import fdspawn

from tests.support import Database
from tests.support.forks import PATIENCE, Forked, flask, forked_at_terminal

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07]*\x07|\x1b[=>]|[\r\x07]")
TERMINAL = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", "PAGER": "cat"}
RW, RO = "opsapp(development:rw)>", "opsapp(development:ro)>"


class Person:
    """An operator at the console."""

    def __init__(self, process: Forked, leader: int, prompt: str) -> None:
        self.process = process
        self.terminal: Any = fdspawn(leader, timeout=PATIENCE, encoding="utf-8")
        self.prompt = prompt

    @property
    def printed(self) -> str:
        """The last output, with its escape sequences."""
        return str(self.terminal.before)

    def wait(self) -> str:
        """Return the output up to the next prompt."""
        return self.until(self.prompt)

    def until(self, words: str) -> str:
        """Return the output before these words."""
        self.terminal.expect_exact(words, timeout=PATIENCE)
        return shown(self.printed)

    def send(self, keys: str) -> None:
        self.terminal.send(keys)

    def type(self, code: str) -> str:
        """Return the output of an input of one line."""
        self.send(code + "\r")
        self.until("\r\n")
        return self.wait()

    def run(self, code: str) -> None:
        """Type an expression that is seen to have begun, and does not end.

        It is one expression, so that nothing of it is still to be compiled once it prints.
        """
        self.send(f"print('be' + 'gun') or {code}\r")
        self.until("begun")

    def leave(self) -> tuple[int | None, str]:
        """Press Ctrl-D; how it ended, and what was said last."""
        self.send("\x04")
        return self.ending()

    def kill(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def ending(self) -> tuple[int | None, str]:
        self.terminal.expect(pexpect.EOF, timeout=PATIENCE)
        return self.process.ended(), shown(self.printed)


def shown(printed: str) -> str:
    """Return the screen that the output leaves."""
    return "\n".join(line.strip() for line in plain(printed).split("\n")).strip()


def plain(printed: str) -> str:
    """The text without escape sequences."""
    return _ANSI.sub("", printed)


@contextmanager
def console(
    database: Database, *args: str, prompt: str = RW, columns: int = 160, **environ: str
) -> Iterator[Person]:
    """``flask shell ARGS`` with an operator at its terminal, once it has asked."""
    leader, follower = pty.openpty()
    fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = forked_at_terminal(
        flask, "shell", *args,
        terminal=os.ttyname(follower),
        environ={**database.environ, **TERMINAL, **environ},
        folder=database.instance,
    )  # fmt: skip
    os.close(follower)
    try:
        yield Person(process, leader, prompt)
    finally:
        process.end()
        os.close(leader)
