"""Values as the console shows them, inside of others too."""

from __future__ import annotations

import copy
from collections import OrderedDict, defaultdict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType, SimpleNamespace
from typing import Any

import attrs
import pytest
from flask import Flask
from IPython.core.formatters import PlainTextFormatter

from opsapp.commands.shell import display, formatters
from opsapp.console.namespace import Answer, Answers
from opsapp.extensions import db
from opsapp.models import User

HASH = "$argon2id$v=19$m=65536,t=3,p=4$PIfQutfa27uXsrb2XmuN0Q$P+OPTZCmRSJ5F4q"


@pytest.fixture
def show() -> Callable[[Any], str]:
    """The text that the console shows of a value."""
    formatter = PlainTextFormatter()
    formatters.teach(formatter)
    return lambda value: str(formatter(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["a", "b"], "['a', 'b']"),
        (("a", 1, None), "('a', 1, None)"),
        ({"a b": {"x"}}, "{'a b': {'x'}}"),
        (["\x1b]0;evil"], "['\\x1b]0;evil']"),
        ([HASH], "['•••']"),
        (({"token": "abc", "id": 1},), "({'token': '•••', 'id': 1},)"),
        ((display.Rows(["id", "password"], [(1, "abc")]),), "([{'id': 1, 'password': '•••'}],)"),
    ],
)
def test_show_texts_inside_of_other_values(
    show: Callable[[Any], str], value: Any, expected: str
) -> None:
    assert show(value) == expected


OWN = {"x": None, "l": [], "t": True, "n": "5", "b": b"abc"}


@pytest.mark.parametrize("value", [OWN, [OWN], [OWN, OWN], {}, [], {"a": [1, None]}, [{"x": None}]])
def test_show_values_of_python_as_python_does(show: Callable[[Any], str], value: Any) -> None:
    assert eval(show(value)) == value  # noqa: S307  (a literal of this test)


Named = namedtuple("Named", "password n")


@dataclass(frozen=True)
class Data:
    password: str
    inner: Any = None


@attrs.frozen
class Attrs:
    password: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([{"password": "abc", "n": 1}], "[{'password': '•••', 'n': 1}]"),
        (OrderedDict(password="abc"), "OrderedDict([('password', '•••')])"),
        (defaultdict(int, password="abc"), "defaultdict(int, {'password': '•••'})"),
        (MappingProxyType({"password": "abc"}), "{'password': '•••'}"),
        (SimpleNamespace(password="abc", n=1), "namespace(password='•••', n=1)"),
        (Named("abc", 1), "Named(password='•••', n=1)"),
        (Data("abc"), "Data(password='•••', inner=None)"),
        (Data("", [{"token": HASH}]), "Data(password='•••', inner=[{'token': '•••'}])"),
        (Attrs("abc"), "Attrs(password='•••')"),
        ((Named(None, HASH),), "(Named(password=None, n='•••'),)"),
        ({HASH, 1} - {1}, "{'•••'}"),
    ],
)
def test_show_secrets_of_containers_hidden(
    show: Callable[[Any], str], value: Any, expected: str
) -> None:
    before = copy.deepcopy(value) if not isinstance(value, MappingProxyType) else value
    assert show(value) == expected
    assert value == before


def test_show_a_container_of_itself(show: Callable[[Any], str]) -> None:
    value: dict[str, Any] = {"password": "abc"}
    value["self"] = value
    assert show(value) == "{'password': '•••', 'self': Ellipsis}"
    plain: list[Any] = [{}]
    plain.append(plain)
    assert show(plain) == "[{}, [...]]"


@pytest.mark.parametrize(
    "value",
    [Answers([OWN]), display.Rows(list(OWN), [tuple(OWN.values())])],
    ids=["records", "rows"],
)
def test_show_records_of_services_and_rows_as_tables(
    show: Callable[[Any], str], value: Any
) -> None:
    assert show(value).splitlines() == ["x  l  t    n  b", "–  –  yes  5  0x616263"]


def test_show_a_record_of_a_service_as_lines(show: Callable[[Any], str]) -> None:
    assert show(Answer(id=1, name="x")).splitlines() == ["id    1", "name  x"]


def test_rows_are_dictionaries(show: Callable[[Any], str]) -> None:
    rows = display.Rows(["id", "n"], [(1, "a"), (2, "b"), (3, "c")])
    assert rows == [{"id": 1, "n": "a"}, {"id": 2, "n": "b"}, {"id": 3, "n": "c"}]
    assert (rows[-1]["n"], len(rows), rows[1:][0]["id"]) == ("c", 3, 2)


def test_show_models_inside_of_other_values(
    app: Flask, ada: str, show: Callable[[Any], str]
) -> None:
    found = db.session.get(User, 1)
    assert show((found, "x")) == "(<User 1>, 'x')"
    assert show([found]).splitlines()[0].split()[:3] == ["id", "email", "username"]


def test_wrap_the_columns_that_have_no_room_between_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    row = {"id": 1, "text": "x" * 50, "first_of_them": 2, "second_of_them": 3}
    assert display.table([row]).splitlines()[-2:] == [
        "(2 columns hidden: first_of_them,",
        "second_of_them)",
    ]


def test_columns_that_do_not_fit_are_named_with_the_way_to_see_them(
    show: Callable[[Any], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opsapp.cli.tables.width", lambda: 20)
    names = ["first", "second", "third"]
    screen = show(display.Rows(names, [("wide" * 5, "wide" * 5, "wide" * 5)]))
    assert " ".join(screen.split()).endswith("%sql -x or %sql --all prints them)")
    assert "%sql" not in show([dict.fromkeys(names, "wide" * 5)])
