"""Addresses: one account for every spelling, by command, API and page."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opsapp import addresses
from opsapp.errors import Invalid
from tests.support import Cli, Database
from tests.support.web import Site, site

SPELLINGS = (
    "ada@müller.example",
    "ada@xn--mller-kva.example",
    "ADA@XN--MLLER-KVA.EXAMPLE",
    "Ada@MÜLLER.example",
    "ada@mu\u0308ller.example",
    "ada@müller。example",
)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_one_address_have_one_form(spelling: str) -> None:
    assert addresses.clean(spelling) == addresses.canonical(spelling) == SPELLINGS[0]
    assert addresses.mailbox(spelling).lower() == SPELLINGS[1]


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("ada", "ada"),
        ("ADA", "ada"),
        ("Ünal", "ünal"),
        ("xn--mller-kva", "müller"),
        ("@xn--mller-kva.exa", "@müller.exa"),
        ("ada@xn--", "ada@xn--"),
        ("ada@straße.example", "ada@straße.example"),
        ("ada@xn--strae-oqa.example", "ada@straße.example"),
        ("ada@strasse.example", "ada@strasse.example"),
        ("Ada@exam\xadple.com", "ada@exam\xadple.com"),
    ],
)
def test_canonical_form_of_what_is_typed(value: str, form: str) -> None:
    assert addresses.canonical(value) == form
    assert addresses.canonical(form) == form


def test_name_that_folds_into_another_is_refused() -> None:
    with pytest.raises(Invalid, match=r"looks the same as strasse@example\.com"):
        addresses.clean("straße@example.com")


@pytest.mark.parametrize(
    ("character", "why"),
    [
        ("\u0378", "is an unassigned character"),
        ("\ue000", "is for private use and means something else to each program"),
        ("\udc80", "is no character"),
        ("\u202e", "a terminal would obey and not show"),
    ],
)
def test_character_that_is_refused_is_called_what_it_is(character: str, why: str) -> None:
    point = f"U+{ord(character):04X}"
    says = f"^e-mail has the character {point} at position 2, which {why}$"
    with pytest.raises(Invalid, match=says.replace("+", r"\+")):
        addresses.clean(f"a{character}@example.com")


@pytest.mark.parametrize("first", SPELLINGS[:2])
def test_commands_find_the_account_by_each_spelling(
    cli: Cli, database: Database, first: str
) -> None:
    cli("users", "create", first, "--no-password", check=True)
    for spelling in SPELLINGS:
        again = cli("users", "create", spelling, "--no-password")
        assert (again.exit_code, "exists already, with id 1" in again.stderr) == (3, True)
        assert cli("users", "show", spelling, "--format", "json").json["id"] == 1
        for option in (("users", "list", "--search"), ("audit", "list", "--subject")):
            assert len(cli(*option, spelling, "--format", "json").json) == 1, (option, spelling)
    part = cli("users", "list", "--search", "xn--mller-kva", "--format", "json").json
    assert [one["email"] for one in part] == [SPELLINGS[0]]
    moved = cli("users", "update", "1", "--email", SPELLINGS[1], "--format", "json").json
    assert moved["changed"] is False
    cli("users", "delete", SPELLINGS[1], "--yes", check=True)
    assert cli("users", "delete", SPELLINGS[0], "--yes", "-q").exit_code == 0
    assert database.rows("SELECT email FROM ops_users") == [(None,)]


@pytest.fixture
def web(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """An administrator, and account 2, which has the address."""
    with site(database, monkeypatch) as made:
        made.make("root@example.com", role="admin")
        made.make(SPELLINGS[1])
        yield made


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_pages_and_the_api_find_the_account_by_each_spelling(web: Site, database: Database) -> None:
    api = web.token("root@example.com")
    for spelling in SPELLINGS[:4]:
        assert api("POST", "/api/users", json={"email": spelling}).status_code == 409
        result = api("GET", "/api/users", query_string={"search": spelling})
        assert [one["id"] for one in result.json["users"]] == [2]
        assert web.browser(spelling).is_in
    web.browser().post("/reset", {"email": SPELLINGS[1]})
    assert database.rows(
        "SELECT recipient FROM ops_mail_messages WHERE kind = 'reset_instructions'"
    ) == [(SPELLINGS[0],)]


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_failed_logins_of_each_spelling_count_together(web: Site, database: Database) -> None:
    for spelling in SPELLINGS[:3]:
        web.browser().sign_in(spelling, "not the password")
    rows = database.rows("SELECT DISTINCT identity FROM ops_logins WHERE outcome <> 'success'")
    assert len(rows) == 1


PIECES = st.text(alphabet="aZ09._+-é", max_size=6)


@given(
    local=PIECES,
    domain=st.lists(st.text(alphabet="aZ0-xn", max_size=5), min_size=1, max_size=3),
    ending=st.sampled_from(["", "com", "test", "local", "arpa", "x1", "c", "xn--p1ai", "EXAMPLE"]),
    longer=st.sampled_from([0, 60, 64, 200]),
)
def test_pattern_of_plain_addresses_decides_as_the_library_does(
    local: str, domain: list[str], ending: str, longer: int
) -> None:
    address = f"{local}{'a' * longer}@{'.'.join([*domain, ending])}"
    assert _decided(addresses.clean, address) == _decided(addresses._clean_closely, address)


def _decided(clean: Callable[[str, str], str], address: str) -> str:
    try:
        return clean(address, "e-mail")
    except Invalid as error:
        return error.message
