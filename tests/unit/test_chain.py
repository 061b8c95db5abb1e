"""The hash chain: what each keyed hash covers, and which checkpoint lines are accepted."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from opsapp.errors import Invalid
from opsapp.unit import chain

KEY = b"a key of the audit"
POINT = chain.Checkpoint("chain-1", 12, "ab" * 32, "2026-01-02T03:04:05Z")


def mac(*parts: str) -> str:
    """The documented hash, computed without the chain's code."""
    message = b"\0".join(part.encode(errors="surrogatepass") for part in parts)
    return hmac.new(KEY, message, hashlib.sha256).hexdigest()


def test_each_purpose_has_a_hash_of_its_own() -> None:
    assert chain.personal_token(KEY, "salt", "ada") == mac("opsapp-personal-v1", "salt", "ada")[:32]
    assert chain.key_id(KEY) == mac("opsapp-key-v1", "", "")[:16]
    assert chain.fingerprint(KEY, "ada") == mac("opsapp-erased-v1", "ada", "")
    assert chain.secret(KEY, "hash") == mac("opsapp-secret-v1", "hash", "")[:32]
    assert chain.signature(KEY, "line") == mac("opsapp-checkpoint-v1", "line", "")
    assert chain.transcript_link(KEY, "0" * 64, "x") == mac("opsapp-transcript-v1", "0" * 64, "x")
    assert chain.statement(KEY, "SELECT 1") == mac("opsapp-statement-v1", "SELECT 1", "")
    assert chain.secret(KEY, "\ud800") == mac("opsapp-secret-v1", "\ud800", "")[:32]


def test_link_covers_the_event_before_and_every_column() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    columns = (1, at, '{"k":1}', "cli", "a:b:c", "user:1", None, None, '{"é":1}', "id")
    body = (
        r'[1,"2026-01-02T03:04:05Z","{\"k\":1}","cli","a:b:c","user:1",null,null,'
        r'"{\"\u00e9\":1}","id"]'
    )
    assert chain.link(KEY, "00ff", columns) == mac("opsapp-audit-v1", "00ff", body)


def test_checkpoint_line_is_read_as_it_was_written() -> None:
    line = POINT.line(KEY)
    body = f"opsapp-audit/1 chain-1 12 {'ab' * 32} 2026-01-02T03:04:05Z"
    assert line == f"{body} {mac('opsapp-checkpoint-v1', body, '')}"
    assert chain.Checkpoint.parse(line, KEY) == POINT
    assert chain.Checkpoint.parse(f"  {line}\n", KEY) == POINT
    largest = replace(POINT, seq=10**19 - 1)
    assert chain.Checkpoint.parse(largest.line(KEY), KEY) == largest


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", ""),
        (" five words are too few \n", "five words are too few"),
        ("opsapp-audit/1 c 1 h at mac more", "opsapp-audit/1 c 1 h at mac more"),
        ("opsapp-audit/2 c 1 h at mac", "opsapp-audit/2 c 1 h at mac"),
        ("opsapp-audit/1 c one h at mac", "opsapp-audit/1 c one h at mac"),
        ("opsapp-audit/1 c 1x h at mac", "opsapp-audit/1 c 1x h at mac"),
        (f"opsapp-audit/1 c {'1' * 20} h at mac", f"opsapp-audit/1 c {'1' * 20} h at mac"),
        ("opsapp-audit/1 é 1 h at mac", "opsapp-audit/1 é 1 h at mac"),
        ("x\x1b[2J" + "y" * 80, "x\\x1b[2J" + "y" * 52 + "…"),
    ],
)
def test_line_that_is_no_checkpoint_is_refused(line: str, expected: str) -> None:
    with pytest.raises(Invalid) as raised:
        chain.Checkpoint.parse(line, KEY)
    assert raised.value.message == f"not a checkpoint line: {expected}"


def test_checkpoint_of_another_key_or_with_another_word_is_refused() -> None:
    line = POINT.line(KEY)
    words = line.split()
    changed = [
        " ".join([*words[:place], word, *words[place + 1 :]])
        for place, word in ((1, "chain-2"), (3, "cd" * 32), (4, "2026-01-02T03:04:06Z"))
    ]
    for tried, key in (*((other, KEY) for other in changed), (line, b"another key")):
        with pytest.raises(Invalid) as raised:
            chain.Checkpoint.parse(tried, key)
        assert raised.value.message == "checkpoint 12: the signature is not of this audit key"
