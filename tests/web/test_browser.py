"""The pages in a real browser, with a real server and real mail."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from email.message import EmailMessage
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.support import PASSWORD, ROOT, Database
from tests.support.browser import CHROMIUM, Mailbox, Visitor, visit
from tests.support.post import smtp_server
from tests.support.server import Served, served
from tests.support.templates import ADA, Templates

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium; on Debian: apt-get install chromium"
)

NEW_PASSWORD = "seven purple otters juggle"


# It ends with this file: while it runs, nothing else in the process can use asyncio.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A real browser."""
    with sync_playwright() as playwright:
        # Its sandbox needs what root and containers lack, and it opens our own pages only.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def mailbox() -> Mailbox:
    """A mailbox that the SMTP server of the site fills."""
    return Mailbox()


@pytest.fixture
def site(database: Database, mailbox: Mailbox) -> Iterator[Served]:
    """The site, served, with its mail server and the account of Ada, an administrator."""
    with ExitStack() as stack:
        port = stack.enter_context(smtp_server(mailbox))
        made = stack.enter_context(
            served(
                database,
                OPSAPP_NAME="Operations",
                OPSAPP_REGISTRATION="on",
                MAIL_SERVER="127.0.0.1",
                MAIL_PORT=str(port),
            )
        )
        made.make_admin("ada@example.com")
        yield made


@pytest.fixture
def ada(site: Served, chromium: Browser) -> Iterator[Visitor]:
    """Ada at her browser; it must have complained about nothing in the end."""
    with visit(chromium, site.url) as visitor:
        yield visitor
        assert visitor.trouble == []


def link_in(message: EmailMessage, url: str) -> str:
    """The link to this site that was mailed."""
    result = re.search(re.escape(url) + r"/reset/\S+", message.get_content())
    assert result, message
    return result[0]


def test_person_signs_in_with_two_factors(ada: Visitor) -> None:
    ada.sign_in("ada@example.com")
    ada.is_at("/")
    ada.sees("who", "ada@example.com")
    ada.sees("account-email", "ada@example.com")
    ada.sees("two-factor", "off")
    assert ada.page.evaluate("document.cookie") == ""

    ada.press("two-factor-setup")
    totp = ada.pair()
    ada.press("codes-kept")
    ada.is_at("/")
    ada.sees("two-factor", "on")
    codes = ada.make_recovery_codes()
    ada.sign_out()

    ada.sign_in("ada@example.com")
    ada.fill(code="000000")
    ada.press("submit-code")
    ada.sees("code-error", "Incorrect")
    # The code that paired the app is used up; the next one is good already.
    ada.fill(code=str(totp.generate(time.time() + 30).token))
    ada.press("submit-code")
    ada.is_at("/")
    ada.sign_out()

    ada.sign_in("ada@example.com")
    ada.press("use-recovery-code")
    ada.fill(code=codes[0])
    ada.press("submit")
    ada.is_at("/")
    ada.sees("who", "ada@example.com")


def test_qr_code_is_shown(ada: Visitor) -> None:
    ada.sign_in("ada@example.com")
    ada.press("two-factor-setup")
    ada.press("setup-authenticator")
    image = ada.page.locator("#qrcode")
    expect(image).to_be_visible()
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0


def test_person_recovers_password_from_mail(ada: Visitor, mailbox: Mailbox) -> None:
    ada.go("/reset")
    ada.fill(email="ada@example.com")
    ada.press("submit")
    message = mailbox.wait_for("assword")
    assert message["To"] == "ada@example.com"
    ada.go(link_in(message, ada.url))
    ada.fill(password=NEW_PASSWORD, password_confirm=NEW_PASSWORD)
    ada.press("submit")
    ada.is_at("/login")
    assert mailbox.wait_for("assword")["To"] == "ada@example.com"
    ada.sign_in("ada@example.com", PASSWORD)
    ada.sees("form-error", "Incorrect")
    ada.sign_in("ada@example.com", NEW_PASSWORD)
    ada.is_at("/")
    ada.sees("who", "ada@example.com")


def test_person_who_is_locked_out_is_let_in_by_operator(ada: Visitor, site: Served) -> None:
    for _time in range(10):
        ada.sign_in("ada@example.com", "wrong")
        ada.sees("form-error", "Incorrect")
    ada.sign_in("ada@example.com")
    ada.sees("form-error", "Too many attempts. Try again in 15 minutes.")

    site.run("users", "unlock", "ada@example.com")
    ada.sign_in("ada@example.com")
    ada.is_at("/")
    ada.sees("who", "ada@example.com")


@pytest.mark.parametrize("kind", ["sqlite"])
def test_every_page_fits_its_window(
    site: Served, ada: Visitor, chromium: Browser, mailbox: Mailbox
) -> None:
    name = site.make_admin("augusta.ada.king.countess.of.lovelace@analytical-engine.example.com")
    for path in ("/login", "/register", "/reset", "/nowhere", "/api/docs"):
        ada.go(path)
        ada.looks_at(path.strip("/").replace("/", "-"))
    ada.page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
    ada.looks_at("api-docs-open")
    expect(ada.page.get_by_text("Needs the permission roles:read.").first).to_be_visible()
    ada.sign_in(name, "wrong")
    ada.sees("form-error", "Incorrect")
    ada.looks_at("login-wrong")

    ada.go("/reset")
    ada.fill(email=name)
    ada.press("submit")
    ada.page.wait_for_selector("[role=status]")
    ada.looks_at("reset-sent")
    ada.go(link_in(mailbox.wait_for("assword"), ada.url))
    ada.looks_at("reset-link")
    ada.fill(password="password1234", password_confirm="password12345")
    ada.press("submit")
    ada.sees("password_confirm-error", "differ")
    ada.looks_at("reset-link-wrong")

    site.run("users", "tokens", "create", name, "backup", "--for", "90d", "--allow", "users:read")
    with visit(chromium, site.url) as elsewhere:
        elsewhere.sign_in(name)
        elsewhere.is_at("/")
    ada.sign_in(name)
    ada.is_at("/")
    ada.looks_at("account")
    for path in ("/change", "/verify", "/tf-setup", "/mf-recovery-codes", "/sessions/end-others"):
        ada.go(path)
        ada.looks_at(path.strip("/").replace("/", "-"))
    ada.go("/tf-setup")
    ada.press("setup-authenticator")
    ada.page.wait_for_selector("#qrcode")
    ada.looks_at("tf-setup-pairing")
    ada.fill(code="000000")
    ada.press("submit-code")
    ada.sees("code-error", "Incorrect")
    ada.looks_at("tf-setup-pairing-wrong")
    ada.pair()
    ada.looks_at("tf-setup-codes")
    ada.press("codes-kept")
    ada.is_at("/")
    ada.go("/tf-setup")
    ada.looks_at("tf-setup-on")
    ada.make_recovery_codes()
    ada.looks_at("mf-recovery-codes-made")
    ada.sign_out()
    ada.sign_in(name)
    ada.page.wait_for_selector("#code")
    ada.looks_at("tf-validate")
    ada.fill(code="000000")
    ada.press("submit-code")
    ada.sees("code-error", "Incorrect")
    ada.looks_at("tf-validate-wrong")
    ada.press("use-recovery-code")
    ada.page.wait_for_selector("form[name=recovery]")
    ada.looks_at("mf-recovery")


SHOP = {"FLASK_APP": "examples.shop", "PYTHONPATH": f"{ROOT}", "OPSAPP_NAME": "The shop"}
SERVING_SHOP = "gunicorn --workers 1 --threads 4 --no-control-socket 'examples.shop:create_app()'"


@pytest.mark.parametrize("kind", ["sqlite"])
def test_pages_of_an_application_have_the_navigation(
    templates: Templates, tmp_path: Path, chromium: Browser
) -> None:
    stock = ("shop", "stock", "tea", "3", "--cents", "450")
    with (
        templates.copy(tmp_path / "shop", (*ADA, stock), **SHOP) as database,
        served(database, SERVING_SHOP, **SHOP) as site,
        visit(chromium, site.url) as ada,
    ):
        ada.sign_in("ada@example.com")
        ada.is_at("/")
        links = ada.page.get_by_role("navigation").get_by_role("link")
        assert links.all_inner_texts() == ["Orders"]
        ada.looks_at("shop-account")
        links.get_by_text("Orders").click()
        ada.is_at("/orders")
        current = ada.page.get_by_role("navigation").locator("[aria-current=page]")
        expect(current).to_have_text("Orders")
        ada.looks_at("shop-orders")
        ada.page.get_by_role("button", name="Order").click()
        ada.page.wait_for_selector("[role=status]")
        ada.looks_at("shop-orders-placed")
        assert ada.trouble == []


INJECTED = {
    "script-src": """{
        const script = document.createElement("script");
        script.text = "document.title = 'injected'";
        document.body.append(script);
    }""",
    "style-src": "document.body.setAttribute('style', 'display: none')",
    "img-src": "{ new Image().src = 'http://127.0.0.2/image'; }",
}


@pytest.mark.parametrize("kind", ["sqlite"])
@pytest.mark.parametrize("directive", INJECTED)
def test_browser_refuses_what_is_injected(site: Served, chromium: Browser, directive: str) -> None:
    with visit(chromium, site.url) as visitor:
        visitor.go("/login")
        with visitor.page.expect_console_message(lambda message: directive in message.text):
            visitor.page.evaluate(INJECTED[directive])
        assert visitor.page.title() == "Sign in · Operations"
        assert visitor.page.is_visible("#email")
        # This is how the other tests would know.
        assert "Content Security Policy" in visitor.trouble[0]
