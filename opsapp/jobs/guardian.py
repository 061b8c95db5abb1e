"""The guardian of a run: a shell that ends the command if the runner is killed with -9.

It is there before the command, and waits on a pipe, which tells it the command's process group.
If the pipe closes without ``done``, the runner is dead, and the guardian kills the command. It
has the lock's descriptor open, so no other run begins before that.
Reasons: docs/decisions/jobs.md#a-guardian-stands-beside-every-run
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress

DISMISSING = 1.0
"""Seconds that it may take to exit."""

# dash takes no "--" after -KILL. A killed process is gone a moment later, on a host that swaps
# after seconds, and until then the lock is not free, for about 30 s. A zombie counts as gone.
_SCRIPT = """
trap '' HUP INT QUIT TERM
group= marked=
while read -r word; do
  [ "$word" != done ] || exit 0
  group=$word
done
[ -z "$group" ] || kill -s KILL -- "-$group"
for file in $(grep -lzxF "$1" /proc/[0-9]*/environ); do
  file=${file%/environ}; marked="$marked ${file#/proc/} "
done
[ -z "$marked" ] || kill -s KILL $marked
is_left() {
  for stat in /proc/[0-9]*/stat; do
    read -r line <"$stat" || continue
    pid=${stat%/stat}
    set -- ${line##*) }
    case $1 in Z|X) continue;; esac
    [ "$3" != "$group" ] || return 0
    case $marked in *" ${pid#/proc/} "*) return 0;; esac
  done
  return 1
}
turns=0
while is_left && [ $turns -lt 110 ]; do
  turns=$((turns + 1))
  if [ $turns -lt 50 ]; then sleep 0.02; else sleep 0.5; fi
done
"""


def post(variable: str, keep_open: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """Start a guardian of all processes with ``NAME=VALUE``.

    :param variable: the ``NAME=VALUE`` in their environment.
    :param keep_open: descriptors that it keeps until all these processes are gone.
    """
    return subprocess.Popen(
        ["/bin/sh", "-c", _SCRIPT, "guardian", variable],
        env={"PATH": os.environ.get("PATH", os.defpath)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        pass_fds=keep_open,
    )


def watch(guardian: subprocess.Popen[bytes], group: int) -> None:
    """Have the guardian watch a process group too, whose processes may have another environment."""
    if guardian.stdin is not None:
        with suppress(BrokenPipeError):  # An operator has ended it.
            guardian.stdin.write(f"{group}\n".encode())
            guardian.stdin.flush()


def dismiss(guardian: subprocess.Popen[bytes]) -> None:
    """Tell the guardian that the run has ended."""
    try:
        guardian.communicate(b"done\n", timeout=DISMISSING)
    except (OSError, subprocess.TimeoutExpired):
        guardian.kill()
        guardian.wait()
