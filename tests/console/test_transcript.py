"""A transcript: each line tied to the one before, and no line into a file that was changed."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from opsapp.console.transcript import Transcript, is_alive, list_abandoned_files, path_of, read
from opsapp.errors import NotReady

ID = "3f2a91c4-0000-4000-8000-000000000000"
KEY = b"a key that is a secret"


@pytest.fixture
def transcript(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Transcript:
    monkeypatch.setenv("OPSAPP_INSTANCE", str(tmp_path))
    made = Transcript(ID, KEY)
    for text in ("one", "two\nlines", "three \u202e"):
        made.write("input", text)
    return made


def test_lines_are_on_the_disk_when_they_are_written(transcript: Transcript) -> None:
    found = read(path_of(ID), KEY)
    assert found is not None
    assert [line["text"] for line in found.lines] == ["one", "two\nlines", "three \u202e"]
    assert (found.broken_at, found.digest, found.inputs) == (None, transcript.digest(), 3)
    assert is_alive(ID)
    transcript.seal()
    assert not is_alive(ID)
    assert list(list_abandoned_files()) == []


@pytest.mark.parametrize(
    ("change", "broken_at"),
    [
        (lambda lines: [lines[0].replace("one", "1"), *lines[1:]], 1),
        (lambda lines: lines[1:], 1),
        (lambda lines: [lines[0], lines[2]], 2),
        (lambda lines: [lines[0], lines[2], lines[1]], 2),
        (lambda lines: [*lines, lines[0]], 4),
        (lambda lines: [*lines, "no json"], 4),
        (lambda lines: lines[:2], None),  # The digest in the audit tells of that.
    ],
    ids=["edit", "behead", "cut out", "swap", "append", "scribble", "cut off"],
)
def test_change_of_the_lines_is_found(
    transcript: Transcript, change: object, broken_at: int | None
) -> None:
    path = path_of(ID)
    assert callable(change)
    path.write_text("\n".join(change(path.read_text().splitlines())) + "\n")
    found = read(path, KEY)
    assert found is not None
    assert found.broken_at == broken_at
    assert found.digest != transcript.digest()


def test_another_key_makes_another_chain(transcript: Transcript) -> None:
    found = read(path_of(ID), b"another key")
    assert found is not None
    assert found.broken_at == 1


@pytest.mark.parametrize("trouble", ["removed", "added to", "emptied", "exchanged"])
def test_nothing_is_written_into_a_file_that_was_changed(
    transcript: Transcript, trouble: str
) -> None:
    path = path_of(ID)
    match trouble:
        case "removed":
            path.unlink()
        case "added to":
            with path.open("a") as file:
                file.write(json.dumps({"n": 4}) + "\n")
        case "emptied":
            os.truncate(path, 0)
        case "exchanged":
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, transcript._file)
            os.close(nowhere)
    with pytest.raises(NotReady) as refused:
        transcript.write("input", "four")
    assert refused.value.message == (
        f"the transcript {path} cannot be written (another process changed or removed it),"
        " so nothing is run"
    )


def test_transcript_of_another_user_is_left_to_them(
    transcript: Transcript, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_how: int) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    os.close(transcript._file)
    monkeypatch.setattr(os, "open", refuse)
    assert list(list_abandoned_files()) == []
    assert is_alive(ID)


def test_abandoned_transcript_is_sealed_by_who_looks_after_it(transcript: Transcript) -> None:
    assert list(list_abandoned_files()) == []  # Its session lives.
    os.close(transcript._file)
    assert [path.stem for path in list_abandoned_files()] == [ID]
    assert list(list_abandoned_files()) == []
