"""Forked processes, which most tests run their commands in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT

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
