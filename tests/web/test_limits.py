"""Rate limits of the login pages and the API."""

from __future__ import annotations

from typing import Any

import pytest

from opsapp.accounts import tokens
from tests.support import Database, Result, run
from tests.support.web import Browser, Program, csrf_token, site

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def test_sign_in_and_api_are_limited(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        browser = Browser(made.app)
        statuses = [browser.sign_in(f"u{n}@example.com", "x").status_code for n in range(21)]
        assert statuses == [200] * 20 + [429]
        late = browser.sign_in("u@example.com", "x")
        seconds = int(late.headers["Retry-After"])
        assert seconds <= 60
        assert f"20 per 1 minute are allowed. Try again in {seconds} second" in late.text
        assert browser.get("/login").status_code == 200
        made.make("ada@example.com")
        program = made.token("ada@example.com")
        first = program("GET", "/api/me")
        assert (first.status_code, first.headers["X-RateLimit-Remaining"]) == (200, "599")
        # They count as well.
        calls = [program("GET", "/api/nowhere").status_code for _time in range(599)]
        assert calls == [404] * 599
        assert program("GET", "/api/me").status_code == 429


@ON_SQLITE
@pytest.mark.parametrize("uri", ["redis", "foo://ada:secret@host", "memcached://host"])
def test_storage_that_cannot_be_used_is_a_line(
    database: Database, monkeypatch: pytest.MonkeyPatch, uri: str
) -> None:
    monkeypatch.setenv("RATELIMIT_STORAGE_URI", uri)
    assert run(database, "routes") == Result(
        7,
        "",
        "Error: RATELIMIT_STORAGE_URI names no storage that can be used\n"
        "  → redis://HOST, with pip install redis; or unset it\n",
    )


@ON_SQLITE
def test_strangers_at_the_same_address_keep_out_no_user_whom_the_site_knows(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        made.make("ada@example.com")
        browser = made.browser("ada@example.com")
        stranger = made.browser()
        statuses = [stranger.sign_in(f"u{n}@example.com", "x").status_code for n in range(20)]
        assert statuses == [200] * 19 + [429]
        assert browser.sign_out().status_code == 302
        assert not browser.is_in
        assert browser.sign_in("ada@example.com").status_code == 302
        statuses = [browser.post("/verify", {"password": "x"}).status_code for _time in range(21)]
        assert statuses[-1] == 429
        assert browser.sign_out().status_code == 302


@ON_SQLITE
@pytest.mark.parametrize("form", ["Bearer {}", "bearer  {}", "BEARER {} ", "Bearer \xa0{}\t"])
def test_token_has_one_limit_however_it_is_spelled(
    database: Database, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        made.make("ada@example.com", role="admin")
        program = made.token("ada@example.com")
        program("GET", "/api/me")
        header = form.format(program.token)
        answer = program.client.get("/api/me", headers={"Authorization": header})
        assert (answer.status_code, answer.headers["X-RateLimit-Remaining"]) == (200, "598")


@pytest.mark.parametrize(
    ("addresses", "network"),
    [
        (["203.0.113.9", "203.0.113.9:1234", " 203.0.113.9:80"], "203.0.113.9"),
        (["2001:db8::1", "[2001:db8::2]:443", "[2001:db8::3]"], "2001:db8::/64"),
        (["nonsense", "unknown", "_hidden", "203.0.113.9:x:y"], "unknown"),
    ],
)
def test_addresses_count_together_however_a_proxy_spells_them(
    database: Database, monkeypatch: pytest.MonkeyPatch, addresses: list[str], network: str
) -> None:
    monkeypatch.setenv("OPSAPP_PROXIES", "1")
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        client = made.app.test_client()
        form = {"csrf_token": csrf_token(client.get("/login")), "email": "x", "password": "x"}
        for number in range(21):
            forwarded = {"X-Forwarded-For": addresses[number % len(addresses)]}
            answer = client.post("/login", data=form, headers=forwarded)
            assert answer.status_code == (200 if number < 20 else 429)
    assert database.rows("SELECT DISTINCT network FROM ops_logins") == [(network,)]


def test_made_up_tokens_are_limited_together_and_keep_no_other_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        made.make("ada@example.com")
        answers = [
            Program(made.app, f"opsapp_{number}")("GET", "/api/me").status_code
            for number in range(61)
        ]
        assert answers == [401] * 60 + [429]
        assert made.token("ada@example.com")("GET", "/api/me").status_code == 200


@ON_SQLITE
@pytest.mark.parametrize("path", ["/api/openapi.json", "/api/docs", "/api/nothing"])
def test_made_up_tokens_count_as_their_address_on_every_path(
    database: Database, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        made.make("ada@example.com")
        real = made.token("ada@example.com")
        limiter: Any = made.app.extensions["opsapp-limits"][0]
        assert Browser(made.app).get(path).headers["X-RateLimit-Remaining"] == "599"
        keys = len(limiter.storage.storage)
        headers = ["Bearer x{}", "Bearer opsapp_{}", "Basic {}"]
        for number in range(9):
            header = {"Authorization": headers[number % 3].format(number)}
            answer = made.app.test_client().get(path, headers=header)
            assert answer.headers["X-RateLimit-Remaining"] == str(598 - number)
        assert len(limiter.storage.storage) == keys
        assert real("GET", path).headers["X-RateLimit-Remaining"] == "599"


@ON_SQLITE
def test_token_is_looked_up_once_for_its_limit_and_its_view(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    lookups: list[str] = []
    real = tokens.find_live

    def find_live(secret: str) -> Any:
        lookups.append(secret)
        return real(secret)

    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        made.make("ada@example.com")
        program = made.token("ada@example.com")
        monkeypatch.setattr(tokens, "find_live", find_live)
        assert program("GET", "/api/me").status_code == 200
        assert Program(made.app, "opsapp_x")("GET", "/api/me").status_code == 401
    assert lookups == [program.token, "opsapp_x"]


def test_limits_go_on_while_their_store_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from limits.errors import StorageError
    from limits.storage import MemoryStorage

    with site(database, monkeypatch, {"RATELIMIT_ENABLED": True}) as made:
        shared: Any = made.app.extensions["opsapp-limits"][0]

        class Away(MemoryStorage):
            def incr(self, *_args: Any, **_options: Any) -> int:
                raise StorageError(OSError("away"))

        shared.storage = Away()
        browser = Browser(made.app)
        statuses = [browser.sign_in(f"u{n}@example.com", "x").status_code for n in range(21)]
        assert statuses == [200] * 20 + [429]
        assert "the rate-limit store is unavailable" in caplog.text
