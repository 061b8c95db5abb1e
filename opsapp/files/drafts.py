"""Drafts: files that are written beside their place, and appear there whole."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..engine.flock import try_lock
from ..errors import Busy, Conflict, OpsError, Refused
from .targets import target


class Draft:
    """A file that is written beside its place, and appears there when it is settled.

    Whatever ends the process, no draft stays: a guardian removes that of a process which
    was killed. Two processes never write the same file at once.

    :param file: the name that the user gave.
    :raises Conflict: the file exists, and ``overwrite`` is false.
    :raises Refused: it is no regular file, or belongs to this installation.
    :raises Busy: another process is writing it.
    :raises OpsError: it cannot be written there.
    """

    def __init__(self, file: str, *, overwrite: bool = False) -> None:
        with translate_os_errors(file):
            self.target = target(file)
            self.path = self.target.with_name(f".{self.target.name}.part")
            self._descriptor = _claim(self.path, file)
            self._guardian = _start_guardian(self.path, self._descriptor)
        self._is_settled = False
        self._overwrite = overwrite
        if self.target.exists() and not overwrite:
            self.discard()
            raise Conflict(f"{file} exists already", hint="--overwrite replaces it")

    def write_to_disk(self) -> int:
        """Have the content on the disk; its bytes."""
        os.fsync(self._descriptor)
        return os.fstat(self._descriptor).st_size

    def chunks(self, size: int) -> Iterator[bytes]:
        """Yield the content, so many bytes at a time."""
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        while chunk := os.read(self._descriptor, size):
            yield chunk

    @contextmanager
    def supervise(self, program: subprocess.Popen[bytes]) -> Iterator[None]:
        """End the program when something goes wrong inside, and when this process is killed."""
        self._tell(str(program.pid))
        try:
            yield
        except BaseException:
            program.kill()
            raise
        finally:
            self._tell("")

    def settle(self, *, placed: bool) -> None:
        """Give the draft its place, or remove it.

        :raises OSError: it could not take its place, and is removed.
        """
        try:
            if placed:
                self._place()
                _sync(self.target.parent)
                self._let_go()
        finally:
            self.discard()

    def _place(self) -> None:
        """Give the draft its name.

        :raises FileExistsError: another process has made a file of this name meanwhile.
        """
        if self._overwrite:
            self.path.replace(self.target)
            return
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise
        except OSError:  # The file system has no hard links.
            if self.target.exists():
                raise
            self.path.replace(self.target)
        else:
            self.path.unlink()

    def discard(self) -> None:
        """Remove the draft, unless it is settled."""
        if not self._is_settled:
            self.path.unlink(missing_ok=True)
            self._let_go()

    def _let_go(self) -> None:
        self._is_settled = True
        os.close(self._descriptor)
        self._tell("done")
        self._guardian.communicate()

    def _tell(self, word: str) -> None:
        if self._guardian.stdin is not None:
            with suppress(BrokenPipeError):  # An operator has ended it.
                self._guardian.stdin.write(f"{word}\n".encode())
                self._guardian.stdin.flush()


@contextmanager
def writing(file: str) -> Iterator[Draft]:
    """Open a draft that replaces the file of this name, unless the body raises."""
    draft = Draft(file, overwrite=True)
    try:
        with translate_os_errors(file):
            yield draft
            draft.write_to_disk()
            draft.settle(placed=True)
    finally:
        draft.discard()


@contextmanager
def translate_os_errors(file: str) -> Iterator[None]:
    """Say of which file the system speaks.

    :raises OpsError: the file cannot be written; says why.
    """
    try:
        yield
    except OSError as error:
        raise OpsError(f"{file} cannot be written: {error.strerror}") from error


# --- drafts ------------------------------------------------------------------


def _claim(path: Path, file: str) -> int:
    """Return the descriptor of an empty private file, locked; the rest of a draft is removed."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        descriptor = os.open(path, flags, 0o600)
        try:
            is_free = try_lock(descriptor)
            if is_free and _is_there(path, descriptor):
                _empty(path, descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if not is_free:
            hint = "try again when it has finished"
            raise Busy(f"another process is writing {file}", hint=hint)
        # Its last writer has just given the file its place, so the path leads to another.


def _is_there(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _empty(path: Path, descriptor: int) -> None:
    """Empty the draft.

    :raises Refused: another user could read what is written there.
    """
    present = os.fstat(descriptor)
    is_own = present.st_uid == os.geteuid() and present.st_nlink == 1
    if not (is_own and stat.S_ISREG(present.st_mode)):
        raise Refused(
            f"{path} exists, and opsapp did not create it", hint=f"look at it: ls -l {path}"
        )
    os.fchmod(descriptor, 0o600)
    os.ftruncate(descriptor, 0)


# It has the descriptor open, so no other process gets the draft before it is removed. Each word
# but the last is the process that writes the draft now.
_GUARDIAN = """
trap '' HUP INT QUIT TERM
while read -r word; do
  [ "$word" != done ] || exit 0
  writer=$word
done
[ -z "$writer" ] || kill -s KILL "$writer"
rm -f -- "$1" "$1-journal" "$1-wal" "$1-shm"
"""


def _start_guardian(path: Path, descriptor: int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603  (a script of our own)
            ["/bin/sh", "-c", _GUARDIAN, "guardian", str(path)],
            env={"PATH": os.environ.get("PATH", os.defpath)},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(descriptor,),
        )
    except BaseException:
        path.unlink()
        os.close(descriptor)
        raise


def _sync(folder: Path) -> None:
    """Have the folder's names on the disk: one that is not there is gone after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with suppress(OSError):  # Some network file systems cannot; the file is there anyhow.
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
