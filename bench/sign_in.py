"""Sign-ins inside of this process, and their argon2 computations, for `bench.web`."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import partial
from time import process_time
from typing import Any

ADMIN, PASSWORD = "ada@example.com", "correct horse battery staple"
NO_LIMITS = {"RATELIMIT_ENABLED": False}
"""A benchmark asks for more in a second than a client may in a minute."""
COMPUTING = ("argon2_hash", "argon2_verify", "argon2_ctx")
"""The functions of argon2's library that do the work; they return when all their threads have."""
TRIES = {
    "right password": (ADMIN, PASSWORD, 302),
    "wrong password": (ADMIN, f"not {PASSWORD}", 200),
    "unknown name": (f"not-{ADMIN}", PASSWORD, 200),
}


def sign_in(count: int) -> None:
    """Sign in inside of this process, and print as JSON what it took.

    ``computations`` has how often a login of each kind computed argon2; ``costs`` the seconds
    of CPU of each whole POST with the right password, and of its argon2 computation when it is
    done once more, alone.
    """
    from argon2 import low_level

    from opsapp import create_app

    app, argon2 = create_app(NO_LIMITS), Argon2(low_level.lib)
    low_level.lib = argon2
    computations, costs = {}, []
    for kind, typed in TRIES.items():
        argon2.computed.clear()
        _post(app, *typed)
        computations[kind] = len(argon2.computed)
    for _ in range(count):
        argon2.computed.clear()
        total = _post(app, *TRIES["right password"])
        (compute,) = argon2.computed
        started = process_time()
        compute()
        costs.append((total, process_time() - started))
    json.dump({"computations": computations, "costs": costs}, sys.stdout)


class Argon2:
    """argon2's library, that remembers what it was asked to compute."""

    def __init__(self, library: Any) -> None:
        self.library = library
        self.computed: list[Callable[[], Any]] = []

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self.library, name)
        if name not in COMPUTING:
            return attribute

        def compute(*args: Any) -> Any:
            self.computed.append(partial(attribute, *args))
            return attribute(*args)

        return compute


def _post(app: Any, name: str, password: str, status: int) -> float:
    """Sign in with a new browser: the seconds of CPU of the POST alone, of all threads."""
    browser = app.test_client()
    match = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get("/login").text)
    form = {"email": name, "password": password, "csrf_token": match and match[1]}
    started = process_time()
    with browser.post("/login", data=form) as answer:
        answer.get_data()
    spent = process_time() - started
    if answer.status_code != status:
        raise RuntimeError(f"the login was answered with {answer.status}\n{answer.text}")
    return spent
