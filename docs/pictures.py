"""The pictures of the pages: terminals and a flame graph, as SVG, from real runs."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple


class Picture(NamedTuple):
    """A terminal with the output of real commands, in an installation of its own."""

    commands: tuple[str, ...]
    """The commands of the picture, as a shell takes them."""
    before: tuple[str, ...] = ()
    """The commands that run before, unseen."""
    columns: int = 96


_PEOPLE = (
    "flask db init",
    "flask users create-admin ada@example.com --username ada --generate-password",
    "flask users create grace@example.com --username grace --no-password",
    "flask roles create support --allow users:read",
)
_RUNS = tuple(
    f"flask jobs run {name} -- {command}"
    for name, commands in {
        "backup": ("sleep 0.2", "sleep 0.3", "sleep 0.3", "sleep 0.4", "sleep 0.6"),
        "report": ("true", "sleep 0.1", "false", "sleep 0.1", "sleep 0.1"),
    }.items()
    for command in commands
)
PICTURES = {
    "console": Picture(
        (
            "flask roles grant support grace@example.com --for 8h --reason 'on call' --dry-run",
            "flask roles grant support grace@example.com --for 8h --reason 'on call'",
            "flask users list",
            "flask users delete ada@example.com --yes",
        ),
        _PEOPLE,
    ),
    "why": Picture(
        (
            "flask users can grace@example.com users:read",
            "flask users can grace@example.com users:write --fields allowed,because",
            "flask roles who users:read",
        ),
        (*_PEOPLE, "flask roles grant support grace@example.com --for 8h --reason 'on call'"),
    ),
    "audit": Picture(
        (
            "flask audit list --since yesterday --action user",
            "flask audit verify --fields ok,events,says",
        ),
        (
            *_PEOPLE,
            "flask roles grant support grace@example.com --until tomorrow --reason 'on call'",
            "flask users update grace@example.com --username hopper",
            "flask roles revoke support grace@example.com --reason 'moved on'",
            "flask users deactivate grace@example.com --yes --reason 'laptop lost'",
        ),
        columns=104,
    ),
    "jobs": Picture(
        ("flask jobs list", "flask jobs check report"), ("flask db init", *_RUNS), columns=104
    ),
}


def picture(of: Picture) -> str:
    """Return a terminal with the output of a real run, as SVG."""
    from rich.console import Console
    from rich.text import Text

    with tempfile.TemporaryDirectory() as folder, Path(os.devnull).open("w") as sink:
        console = Console(record=True, width=of.columns, file=sink)
        for line in of.before:
            _run(folder, line, of.columns)
        for number, line in enumerate(of.commands):
            console.print(Text(f"{chr(10) if number else ''}$ {line}", style="bold"))
            console.print(Text.from_ansi(_run(folder, line, of.columns)))
        console.print()  # The frame cuts the feet of the last line.
    return console.export_svg(title="opsapp", unique_id="opsapp")


_FLAME = (
    *_PEOPLE[:2],
    "flask profile request GET /api/users --as ada --repeat 20 --cold --sample",
    'flask profile flame "$(flask profile traces --kind asked --fields id | tail -n 1)" -o page',
)
_BOX = re.compile(
    r'class="(?P<kind>\w+)" style="left:(?P<left>[\d.]+)%;width:(?P<width>[\d.]+)%;'
    r'top:(?P<top>\d+)px"'
    r'.*? title="(?P<title>[^"]*)">(?P<short>[^<]*)<'
)
_COLOURS = {"ours": "#7cc0de", "theirs": "#d9d5c8", "sqla": "#f0bd77"}


def flame() -> str:
    """Return the flame graph of a real request, as SVG, from its page."""
    with tempfile.TemporaryDirectory() as folder:
        for line in _FLAME:
            _run(folder, line, 96)
        boxes = list(_BOX.finditer(Path(folder, "page").read_text(encoding="utf-8")))
    height = max(int(box["top"]) for box in boxes) + 21
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1000 {height}"'
            ' font-family="sans-serif" font-size="12">',
            *map(_draw, boxes),
            "</svg>\n",
        ]
    )


def _draw(box: re.Match[str]) -> str:
    """Return a box whose name is cut at its edge."""
    place = f'x="{float(box["left"]) * 10:.1f}" y="{box["top"]}"'
    return (
        f'<svg {place} width="{float(box["width"]) * 10:.1f}" height="20"><title>{box["title"]}'
        f'</title><rect width="100%" height="20" rx="3" fill="{_COLOURS[box["kind"]]}"/>'
        f'<text x="5" y="14" fill="#1d2530">{box["short"]}</text></svg>'
    )


def _run(folder: str, line: str, columns: int) -> str:
    """Return the output of a command and its messages at a terminal of this width."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 0, columns, 0, 0))
    with subprocess.Popen(
        ["sh", "-c", line],
        env={
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
            "FLASK_APP": "opsapp",
            "FLASK_SKIP_DOTENV": "1",
            "OPSAPP_INSTANCE": folder,
            "TERM": "xterm-256color",
        },
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
    ):
        os.close(follower)
        output = b"".join(_receive(leader))
    os.close(leader)
    return output.decode().replace("\r\n", "\n").rstrip("\n")


def _receive(leader: int) -> Iterator[bytes]:
    # Linux reports the end of a terminal as an error.
    with suppress(OSError):
        while part := os.read(leader, 65536):
            yield part
