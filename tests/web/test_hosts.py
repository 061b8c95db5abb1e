"""Host names: accepted names, and the targets of links."""

from __future__ import annotations

import re

import pytest

from opsapp import errors, settings
from tests.support import Database
from tests.support.web import Browser, csrf_token, settle, site

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@ON_SQLITE
def test_other_host_names_are_refused_and_health_is_not(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPSAPP_URL", "https://ops.example.com")
    with site(database, monkeypatch) as made:
        client = Browser(made.app).client
        for host, status in (("ops.example.com", 200), ("evil.example", 400), ("10.0.0.9", 400)):
            assert client.get("/login", base_url=f"https://{host}").status_code == status
        for path in ("/healthz", "/readyz"):
            assert client.get(path, base_url="http://10.0.0.9:8000").status_code == 200


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://Ops.Example.com/", "https://ops.example.com"),
        ("https://öps.example.com", "https://xn--ps-eka.example.com"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://.example.com", None),
        ("https://u:p@ops.example.com", None),
        ("https://ops.example.com?x=1", None),
        ("https://ops.example.com/ops", None),
        ("https://ops.example.com:99999", None),
        ("http://[", None),
        ("ops.example.com", None),
        ("ftp://ops.example.com", None),
    ],
)
def test_our_address_is_an_origin(url: str, kept: str | None) -> None:
    if kept is None:
        with pytest.raises(errors.NotReady, match="is not of the form"):
            settings.get("OPSAPP_URL", {"OPSAPP_URL": url})
    else:
        assert settings.get("OPSAPP_URL", {"OPSAPP_URL": url}) == kept


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "host", "status"),
    [
        ("http://[::1]:8000", "[::1]:8000", 200),
        ("https://öps.example.com", "xn--ps-eka.example.com", 200),
        ("https://ops.example.com", "OPS.example.com", 200),
        ("https://ops.example.com", "x.ops.example.com", 400),
        ("https://ops.example.com", "ops.example.com.evil.example", 400),
    ],
)
def test_host_names_are_compared_as_names(
    database: Database, monkeypatch: pytest.MonkeyPatch, url: str, host: str, status: int
) -> None:
    monkeypatch.setenv("OPSAPP_URL", url)
    with site(database, monkeypatch) as made:
        answer = Browser(made.app).client.get("/login", headers={"Host": host})
        assert answer.status_code == status


@ON_SQLITE
@pytest.mark.parametrize("host", ["evil.example", "a b", "[::1", "x" * 300, "evil\\example"])
def test_host_that_flask_itself_refuses_gets_a_plain_page(
    database: Database, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    with site(database, monkeypatch, {"TRUSTED_HOSTS": ["ops.example.com"]}) as made:
        client = Browser(made.app).client
        for accept in ("text/html", "application/json"):
            headers = {"Host": host, "Accept": accept}
            assert client.get("/login", headers=headers).status_code == 400


@ON_SQLITE
@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://ops.example.com", "ops.example.com"),
        ("https://öps.example.com", "xn--ps-eka.example.com"),
    ],
)
def test_links_in_mail_are_of_our_address_whatever_was_asked_for(
    database: Database, monkeypatch: pytest.MonkeyPatch, url: str, host: str
) -> None:
    monkeypatch.setenv("OPSAPP_URL", url)
    with site(database, monkeypatch) as made:
        made.make("ada@example.com")
        client = made.app.test_client()
        asked = f"http://{host}:8443"
        form = {"csrf_token": csrf_token(client.get("/reset", base_url=asked))}
        with client.post("/reset", data={"email": "ada@example.com", **form}, base_url=asked):
            pass
        settle(made.app)
        (letter,) = made.mail_to("ada@example.com")
        assert re.findall(r"https?://[^/\s]+", letter) == [f"https://{host}"]
