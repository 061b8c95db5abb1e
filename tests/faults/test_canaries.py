"""Secrets that are planted in every place, and looked for in all that leaves the process."""

from __future__ import annotations

from pathlib import Path

from tests.faults import tally
from tests.support import SECRETS, Database, run

CANARY = "canary-Zq7 horse battery staple"
COMMANDS = (
    "users create-admin eve@example.com --password-stdin",
    "users set-password eve@example.com --password-stdin",
    "users create eve@example.com --password-stdin",
    "users show eve@example.com --format json",
    "users list --format json",
    "audit list --format json",
    "audit export",
    "doctor --settings",
    "query --tables",
    "jobs run nightly -- env", "shell -c 1/0", "shell -c db.session.execute('x')",
)  # fmt: skip


def test_no_secret_leaves_the_process(database: Database, kind: str) -> None:
    outputs: dict[str, str] = {}
    for words in COMMANDS:
        done = run(database, *words.split(), stdin=CANARY)
        outputs[words] = done.stdout + done.stderr
    hashes = [hash for (hash,) in database.rows("SELECT password FROM ops_users") if hash]
    assert hashes
    keys = {
        file.name: file.read_text().strip() for file in (database.instance / "secrets").iterdir()
    }
    assert keys.keys() == {name.lower() for name in SECRETS}
    leaks = [
        (place, secret)
        for place, content in (*outputs.items(), *files(database))
        for secret in (CANARY, *hashes, *keys.values())
        if secret in content
    ]
    assert leaks == []
    tally.count(
        "Secrets", "command", kind, "no secret in its output, log, audit or files", len(COMMANDS)
    )


def files(database: Database) -> list[tuple[str, str]]:
    """The tables but that of the passwords, and the files but those of the secrets."""
    queries = ("SELECT * FROM ops_audit_events", "SELECT * FROM ops_job_output")
    tables = [(query, repr(database.rows(query))) for query in queries]
    paths = [
        p
        for p in Path(database.instance).rglob("*")
        if p.is_file() and p.suffix in (".log", ".jsonl")
    ]
    return tables + [(str(path), path.read_text()) for path in paths]
