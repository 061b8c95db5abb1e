"""Forked processes, which most tests run their commands in."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.forks import forked

BEGIN_ELSEWHERE = """
import os, pathlib
from tests.support.forks import forked

if __name__ == "__main__":
    os.chdir("/")
    print(*forked(exec, {code!r}, environ=os.environ, folder=pathlib.Path("/")))
"""


def test_fork_from_another_folder_has_everything_imported(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(BEGIN_ELSEWHERE.format(code="import sys; print('zxcvbn' in sys.modules)"))
    done = subprocess.run(
        [sys.executable, script],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("0 True\n \n", "")


def test_start_of_another_process_does_not_read_the_end_of_this(tmp_path: Path) -> None:
    others: list[object] = []
    code, *_streams = forked(
        exec,
        "raise SystemExit(4)",
        environ=os.environ,
        folder=tmp_path,
        begun=lambda _pid: others.extend(multiprocessing.active_children()),
    )
    assert (code, others) == (4, [])
