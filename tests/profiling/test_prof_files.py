"""The .prof files: a quota for the writer, and no trust from the reader."""

from __future__ import annotations

import cProfile
import marshal
import os
from pathlib import Path

import pytest

from opsapp.errors import Invalid, NotFound, OpsError, Refused
from opsapp.profiling.record import prof_files
from opsapp.profiling.record.prof_files import Folder


def a_profile(path: Path) -> Path:
    profile = cProfile.Profile()
    profile.runcall(sorted, [3, 1, 2])
    profile.dump_stats(path)
    path.chmod(0o600)
    return path


def refused(path: Path) -> OpsError:
    with pytest.raises(OpsError) as caught:
        prof_files.read(path, count=5, sort="self")
    return caught.value


def test_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prof_files, "MOST_FILES", 3)
    folder = Folder(tmp_path / "profiles")
    names = [folder.write(b"x") for _ in range(3)]
    for name in names:  # They were made in one second, so their order is chance.
        (folder.path / name).rename(folder.path / f"2020{names.index(name)}.prof")
    newest = folder.write(b"x")
    assert [row["file"] for row in folder.listing()] == [newest, "20202.prof", "20201.prof"]
    monkeypatch.setattr(prof_files, "MOST_BYTES", 2)
    assert folder.make_room(dry_run=True) == 1
    assert folder.make_room() == 1
    assert len(folder.listing()) == 2


def test_folder_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert Folder(tmp_path / "none").listing() == []
    assert Folder(tmp_path / "none").make_room() == 0


def test_profile_is_read(tmp_path: Path) -> None:
    rows = prof_files.read(a_profile(tmp_path / "a.prof"), count=5, sort="calls")
    assert "<built-in method builtins.sorted>" in [row["function"] for row in rows]
    assert {row["calls"] for row in rows} == {1}


def test_what_is_not_ones_own_file_is_refused(tmp_path: Path) -> None:
    a_profile(tmp_path / "a.prof")
    (tmp_path / "link.prof").symlink_to(tmp_path / "a.prof")
    os.mkfifo(tmp_path / "pipe.prof")
    loose = a_profile(tmp_path / "loose.prof")
    loose.chmod(0o666)
    large = tmp_path / "large.prof"
    with large.open("wb") as file:
        file.truncate(prof_files.LARGEST + 1)
    assert refused(tmp_path / "link.prof").message.endswith("cannot be opened: it is a link")
    assert refused(tmp_path / "pipe.prof").message.endswith("is not a regular file")
    assert refused(loose).message.endswith("can be written by others")
    assert refused(large).message.endswith("is larger than 32 MiB")
    assert refused(Path("/dev/zero")).message == "/dev/zero is not a regular file"
    assert isinstance(refused(tmp_path / "nowhere.prof"), NotFound)
    assert isinstance(refused(tmp_path), Refused)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_file_of_another_user_is_refused(tmp_path: Path) -> None:
    theirs = a_profile(tmp_path / "theirs.prof")
    os.chown(theirs, 12345, 12345)
    assert refused(theirs).message.endswith("belongs to another user")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        marshal.dumps([1, 2, 3]),
        marshal.dumps({("f", 1, "g"): 1}),
        marshal.dumps({("f", 1, "g"): ("a", "b", "c", "d", {})}),
        marshal.dumps({("f", 1, "g"): (1, 1, float("nan"), float("inf"), {})}),
        b"(" + b"\xff\xff\xff\x7f" + b"N" * 100,  # a tuple of two thousand million
        b"[\x01\x00\x00\x00" * 100_000,
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.prof"
    path.write_bytes(content)
    path.chmod(0o600)
    error = refused(path)
    assert isinstance(error, Invalid)
    assert error.exit_code == 2


def test_names_are_made_safe(tmp_path: Path) -> None:
    path = tmp_path / "hostile.prof"
    path.write_bytes(marshal.dumps({("\x1b[2J", 1, "f\u202e"): (1, 1, 0.1, 0.1, {})}))
    path.chmod(0o600)
    (row,) = prof_files.read(path, count=5, sort="self")
    assert row["function"] == "\\x1b[2J:1 in f\\u202e"


def test_draft_is_removed_if_it_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    folder = Folder(tmp_path / "profiles")
    with pytest.raises(OSError, match="No space left"):
        folder.write(b"x")
    assert list(folder.path.iterdir()) == []
