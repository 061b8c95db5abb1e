"""A mailbox, and a real browser that is watched."""

from __future__ import annotations

import os
import queue
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from aiosmtpd.smtp import SMTP, Envelope, Session
from axe_playwright_python.sync_playwright import Axe
from passlib.totp import TOTP
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, WebError, expect

from tests.support import PASSWORD
from tests.support.processes import PATIENCE

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))),
                None)  # fmt: skip
SCREENSHOTS = os.environ.get("OPSAPP_SCREENSHOTS")
"""The folder for pictures of the pages, which are then all checked for accessibility; there are
none if it is not set."""
AXE = Axe()
WIDTHS = {"wide": 1280, "narrow": 390, "narrowest": 320}
COLOURS: dict[str, dict[str, Any]] = {
    "light": {"color_scheme": "light", "forced_colors": "none"},
    "dark": {"color_scheme": "dark", "forced_colors": "none"},
    "forced": {"color_scheme": "dark", "forced_colors": "active"},
}
HARMLESS = {
    # A test may type before the page is drawn, and then the cursor is where it should be.
    "Autofocus processing was blocked": "/",
    # The browser says so of every page that is an error.
    "Failed to load resource: the server responded with a status of 404": "/nowhere",
}
"""Permitted remarks of the browser, by the start of the address."""


# --- mail --------------------------------------------------------------------


class Mailbox:
    """The messages at the SMTP server, for all recipients."""

    def __init__(self) -> None:
        self._arrived: queue.Queue[EmailMessage] = queue.Queue()

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take a message in; aiosmtpd calls it."""
        assert isinstance(envelope.content, bytes)
        self._arrived.put(message_from_bytes(envelope.content, policy=policy.default))
        return "250 Message accepted for delivery"

    def wait_for(self, subject: str) -> EmailMessage:
        """The next message whose subject has this in it; what came before it is passed over."""
        while True:
            message = self._arrived.get(timeout=PATIENCE)
            if subject in message["Subject"]:
                return message


# --- the browser -------------------------------------------------------------


@dataclass
class Visitor:
    """A real browser, with the log of its complaints."""

    page: Page
    url: str
    trouble: list[str] = field(default_factory=list)

    def go(self, path: str) -> None:
        self.page.goto(self.url + path if path.startswith("/") else path)

    def fill(self, **values: str) -> None:
        """Type into the inputs of these ids."""
        for id, value in values.items():
            self.page.fill(f"#{id}", value)

    def press(self, id: str) -> None:
        self.page.click(f"#{id}")

    def sees(self, id: str, text: str) -> None:
        """Wait until the element says this."""
        expect(self.page.locator(f"#{id}")).to_contain_text(text)

    def is_at(self, path: str) -> None:
        """Wait until the page is this one."""
        expect(self.page).to_have_url(self.url + path)

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        """Give name and password; what comes next is not waited for."""
        self.go("/login")
        self.fill(email=name, password=password)
        self.press("submit")

    def sign_out(self) -> None:
        self.press("sign-out")
        self.is_at("/login")

    def pair(self) -> TOTP:
        """Set up the second factor; the authenticator app, which has read the key."""
        self.go("/tf-setup")
        self.press("setup-authenticator")
        shown = self.page.inner_text("#authr-key")
        totp = TOTP(shown.replace("-", "").replace(" ", ""))
        self.fill(code=str(totp.generate().token))
        self.press("submit-code")
        expect(self.page.locator("#recovery-codes li")).to_have_count(10)
        return totp

    def make_recovery_codes(self) -> list[str]:
        self.go("/mf-recovery-codes")
        self.press("generate_new_codes")
        codes = self.page.locator("#recovery-codes li")
        expect(codes).to_have_count(10)
        return codes.all_inner_texts()

    def looks_at(self, name: str) -> None:
        """See that the page fits, wide and narrow, in every kind of colours."""
        pairs = [*zip(COLOURS, WIDTHS, strict=True)]  # Each width and each kind of colours once.
        for scheme, colours in COLOURS.items():
            self.page.emulate_media(**colours)
            for size, width in WIDTHS.items():
                self.page.set_viewport_size({"width": width, "height": 800})
                over = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert over <= 0, f"{name} is {over} pixels too wide for {width}"
                if SCREENSHOTS or (scheme, size) in pairs:
                    assert self.find_barriers() == [], f"{name} {size} {scheme}"
                if SCREENSHOTS:
                    path = Path(SCREENSHOTS) / f"{name}-{size}-{scheme}.png"
                    self.page.screenshot(path=path, full_page=True)
        # Chromium paints what it loads in forced colours on black, even after they end.
        self.page.emulate_media(**COLOURS["light"])

    def find_barriers(self) -> list[str]:
        """Return the violations that axe-core finds on the page."""
        violations = AXE.run(self.page).response["violations"]
        return [f"{one['id']}: {one['nodes'][0]['html']}" for one in violations]

    # What the browser reports while pages are open.

    def hear_console(self, message: ConsoleMessage) -> None:
        where = message.location["url"].removeprefix(self.url)
        for text, below in HARMLESS.items():
            if message.text.removeprefix("[DOM] ").startswith(text) and where.startswith(below):
                return
        self.trouble.append(f"console {message.type}: {message.text}")

    def hear_error(self, error: WebError) -> None:
        self.trouble.append(f"error: {error.error}")

    def hear_request(self, request: Request) -> None:
        ours = request.url.startswith((f"{self.url}/", "data:"))
        if not ours:
            self.trouble.append(f"request to {urlsplit(request.url).netloc}")


@contextmanager
def visit(chromium: Browser, url: str) -> Iterator[Visitor]:
    """A browser without a past."""
    context = chromium.new_context(viewport={"width": WIDTHS["wide"], "height": 800})
    try:
        visitor = Visitor(context.new_page(), url)
        context.on("console", visitor.hear_console)
        context.on("weberror", visitor.hear_error)
        context.on("request", visitor.hear_request)
        yield visitor
    finally:
        context.close()
