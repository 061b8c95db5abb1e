"""Temporary databases: their errors are not those of the application's database."""

from __future__ import annotations

from contextlib import closing

import pytest

from opsapp.engine.scratch import Scratch
from opsapp.errors import OpsError


def test_full_temporary_file_is_not_taken_for_the_database() -> None:
    with closing(Scratch(isolation_level=None)) as scratch:
        scratch.execute("PRAGMA max_page_count=2")
        scratch.execute("CREATE TABLE seen (value)")
        for insert in (scratch.execute, lambda *args: scratch.executemany(args[0], [args[1]])):
            with pytest.raises(OpsError) as refusal:
                insert("INSERT INTO seen VALUES (zeroblob(?))", (100_000,))
            assert refusal.value.message == (
                "a temporary file cannot be written: database or disk is full"
            )
            assert refusal.value.hint == "TMPDIR=FOLDER names another place"
