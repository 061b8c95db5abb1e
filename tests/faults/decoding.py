"""Arguments of the properties, made from the bytes of a fuzzer: hypothesis would take longer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opsapp.accounts.transfer import records
from opsapp.jobs import fields
from tests.faults import properties

SPECIAL = "²٣\u202e\x1b\0\ud800/@:%[]{}=\"',;\n"
COLUMNS = [*records.COLUMNS, "id", "x"]
CELLS = ["true", "a@x.com", "admin until 2090-01-01", "2090-01-01"]
JOB_FIELDS = list(fields.OF_JOB)
LINES = (
    ["1", "2", "[]", "1e999", "null"],
    ['"x"', "1", "null", "[1]", '"\\ud800"'],
    ['"kind": "input"', '"kind": {}', '"at": 1', '"text": "\\u001b"'],
)


Data = Any
"""The bytes of one run: a FuzzedDataProvider of atheris, which need not be installed."""
Make = Callable[[Data], Any]


def word(data: Data) -> str:
    if data.ConsumeIntInRange(0, 3):
        return data.ConsumeUnicode(data.ConsumeIntInRange(0, 12))
    return SPECIAL[data.ConsumeIntInRange(0, len(SPECIAL) - 1)] + data.ConsumeUnicode(4)


def several(data: Data, make: Make, most: int, least: int = 0) -> list[Any]:
    return [make(data) for _ in range(data.ConsumeIntInRange(least, most))]


def several_by(data: Data, key: Make, make: Make) -> dict[Any, Any]:
    return {key(data): make(data) for _ in range(data.ConsumeIntInRange(0, 3))}


def cell(data: Data) -> str:
    return data.PickValueInList(CELLS) if data.ConsumeIntInRange(0, 2) else word(data)


def toml(data: Data) -> Any:
    makes: list[Make] = [
        *(word, lambda data: data.ConsumeInt(8), lambda data: bool(data.ConsumeIntInRange(0, 1))),
        *(lambda _data: "* * * * *", lambda _data: "1h", lambda data: several(data, toml, 3)),
    ]
    return data.PickValueInList(makes)(data)


def scalar(data: Data) -> Any:
    makes: list[Make] = [
        *(word, lambda data: data.ConsumeInt(8), lambda data: data.ConsumeFloat()),
        *(lambda _data: None, lambda data: bool(data.ConsumeIntInRange(0, 1))),
    ]
    return data.PickValueInList(makes)(data)


def shape(data: Data) -> Any:
    if data.ConsumeIntInRange(0, 2):
        return scalar(data)
    return tuple(several(data, shape, 5))


def job(data: Data) -> dict[str, Any]:
    return several_by(data, lambda data: data.PickValueInList(JOB_FIELDS), toml)


def argument(data: Data) -> str:
    return word(data) if data.ConsumeIntInRange(0, 1) else data.PickValueInList(properties.OPTIONS)


def import_content(data: Data) -> bytes:
    form = data.ConsumeIntInRange(0, 4)
    if form == 0:
        return data.ConsumeBytes(500)
    header = several(data, lambda data: data.PickValueInList(COLUMNS), 4, least=1)
    if form < 3:
        return properties._csv(header, several(data, lambda data: several(data, cell, 4), 4))
    return properties._jsonl(header, several(data, lambda data: several(data, toml, 4), 4))


def transcript_content(data: Data) -> bytes:
    if not data.ConsumeIntInRange(0, 2):
        return data.ConsumeBytes(500)
    lines = several(data, lambda data: tuple(map(data.PickValueInList, LINES)), 4)
    return b"\n".join(f'{{"n": {n}, "mac": {mac}, {more}}}'.encode() for n, mac, more in lines)


ARGUMENTS: dict[str, Callable[[Data], dict[str, Any]]] = {
    "text that is shown": lambda data: {"value": word(data)},
    "every format": lambda data: {"names": several(data, word, 3, least=1)},
    "errors questions and completion": lambda data: {"names": several(data, word, 3, least=1)},
    "values": lambda data: {"value": word(data)},
    "arguments": lambda data: {
        "path": data.PickValueInList(properties.PATHS),
        "arguments": several(data, argument, 5),
    },
    "jobs file": lambda data: {
        "jobs": several_by(data, word, job),
        "cut": data.ConsumeIntInRange(0, 400),
    },
    "import file": lambda data: {
        "format": data.PickValueInList(["csv", "jsonl"]),
        "content": import_content(data),
    },
    "transcript file": lambda data: {"content": transcript_content(data)},
    "profile": lambda data: {"stats": several_by(data, shape, shape)},
    "checkpoint line": lambda data: {
        "place": data.ConsumeIntInRange(0, 300),
        "length": data.ConsumeIntInRange(0, 5),
        "inserted": word(data),
    },
    "audit event": lambda data: {
        "changes": several_by(
            data, lambda data: data.PickValueInList(list(properties.EVENT)), scalar
        )
    },
}
"""For each target, the arguments of its property."""
