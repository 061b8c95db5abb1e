"""The web part outside development: its address, cookies, and no debugger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from opsapp import errors
from tests.support import PASSWORD, Database, run
from tests.support.web import Browser, csrf_token, site

ON_SQLITE = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def production(database: Database, monkeypatch: pytest.MonkeyPatch, **more: str) -> None:
    """Set the environment to one where secrets must come from outside."""
    folder = Path(database.instance) / "secrets"
    for name in ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY"):
        monkeypatch.setenv(name, (folder / name.lower()).read_text())
    database.execute("UPDATE ops_audit_head SET environment = 'production'")
    for name, value in {"OPSAPP_ENV": "production", **more}.items():
        monkeypatch.setenv(name, value)


def test_production_needs_its_address(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    production(database, monkeypatch)
    with (
        pytest.raises(errors.NotReady, match="OPSAPP_URL is not set"),
        site(database, monkeypatch),
    ):
        pass


@ON_SQLITE
@pytest.mark.parametrize(
    ("option", "flag"), [(["--debug"], ""), (["--debugger"], ""), ([], "1")], ids=str
)
def test_production_does_not_serve_with_a_debugger(
    database: Database, option: list[str], flag: str
) -> None:
    folder = Path(database.instance) / "secrets"
    names = ("SECRET_KEY", "SECURITY_PASSWORD_SALT", "OPSAPP_AUDIT_KEY")
    result = run(
        database,
        "run",
        *option,
        OPSAPP_ENV="production",
        OPSAPP_URL="https://ops.example.com",
        FLASK_DEBUG=flag,
        **{name: (folder / name.lower()).read_text() for name in names},
    )
    assert (result.exit_code, result.stdout) == (7, "")
    assert result.stderr == (
        "Error: the debugger (FLASK_DEBUG, --debug, debug=True) runs any code,"
        " and OPSAPP_ENV is production\n"
        "  → unset FLASK_DEBUG, and serve without --debug, --debugger and debug=True\n"
    )


@ON_SQLITE
@pytest.mark.parametrize(
    ("before", "options"),
    [
        ("", {"debug": True}),
        ("", {"use_debugger": True}),
        ("debug", {}),
        ("FLASK_DEBUG", {}),
    ],
    ids=str,
)
def test_production_does_not_run_with_a_debugger(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    before: str,
    options: dict[str, Any],
) -> None:
    production(database, monkeypatch, OPSAPP_URL="https://ops.example.com")
    with site(database, monkeypatch) as made:
        if before == "debug":
            made.app.debug = True
        elif before:
            monkeypatch.setenv(before, "1")
        with pytest.raises(SystemExit) as ended:
            made.app.run(port=0, **options)
    assert ended.value.code == 7
    assert capfd.readouterr() == (
        "",
        "Error: the debugger (FLASK_DEBUG, --debug, debug=True) runs any code,"
        " and OPSAPP_ENV is production\n"
        "  → unset FLASK_DEBUG, and serve without --debug, --debugger and debug=True\n",
    )


@ON_SQLITE
def test_production_runs_without_a_debugger(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(database, monkeypatch, OPSAPP_URL="https://ops.example.com")
    monkeypatch.delenv("FLASK_RUN_FROM_CLI", raising=False)
    calls = []
    monkeypatch.setattr(
        "werkzeug.serving.run_simple", lambda *_args, **options: calls.append(options)
    )
    with site(database, monkeypatch) as made:
        made.app.run(port=0)
        made.app.run(port=0, debug=False)
    assert [options["use_debugger"] for options in calls] == [False, False]


def test_production_answers_to_its_own_name_with_secure_cookies(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "https://ops.example.com"
    production(database, monkeypatch, OPSAPP_URL=url)
    with site(database, monkeypatch) as made:
        made.make("ada@example.com")
        client = Browser(made.app).client
        page = client.get("/login", base_url=url)
        assert page.status_code == 200
        assert page.headers["Strict-Transport-Security"].startswith("max-age=31536000")
        form = {"email": "ada@example.com", "password": PASSWORD, "csrf_token": csrf_token(page)}
        inside = client.post("/login", data=form, base_url=url, headers={"Referer": f"{url}/login"})
        assert inside.status_code == 302
        cookies = [cookie.split("; ") for cookie in inside.headers.getlist("Set-Cookie")]
        names = {name.partition("=")[0] for name, *_attributes in cookies}
        assert names == {"__Host-opsapp_session", "__Host-opsapp_browser"}
        for _name, *attributes in cookies:
            # Without Path=/ or with a Domain, a browser refuses a cookie of that prefix.
            assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= {*attributes}
            assert not [each for each in attributes if each.startswith("Domain=")]
        assert client.get("/login", base_url="https://evil.example").status_code == 400


def test_address_of_a_client_behind_a_proxy_is_the_one_that_the_proxy_saw(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = {"X-Forwarded-For": "203.0.113.9, 198.51.100.7"}
    for proxies, seen in (("0", "127.0.0.1"), ("1", "198.51.100.7")):
        monkeypatch.setenv("OPSAPP_PROXIES", proxies)
        with site(database, monkeypatch) as made:
            browser = Browser(made.app)
            form = {"email": "nobody@example.com", "password": "x"}

            form["csrf_token"] = csrf_token(browser.get("/login"))
            browser.client.post("/login", data=form, headers=sent)
        rows = database.rows("SELECT ip FROM ops_logins ORDER BY id DESC LIMIT 1")
        assert rows == [(seen,)]
