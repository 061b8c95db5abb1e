"""The API keeps to its document, whatever is sent to it.

``OPSAPP_SCHEMATHESIS_CASES=10000`` sends at least that many cases, to each kind of database.
How many of which were answered how is written to stdout, which ``-s`` shows.
"""

from __future__ import annotations

import faulthandler
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import hypothesis
import pytest
import schemathesis
from flask import Response, request
from schemathesis import Case, HookContext
from schemathesis.pytest.lazy import get_all_tests
from schemathesis.schemas import BaseSchema
from sqlalchemy.engine import make_url

from opsapp.accounts import roles
from opsapp.web.api.access import SAFE
from tests.support import Database, a_unit, administer, close_connections
from tests.support.templates import copy_database
from tests.support.web import Site, settle

MANY = os.environ.get("OPSAPP_SCHEMATHESIS_CASES")
pytestmark = pytest.mark.parametrize("kind", ["sqlite", "postgresql"] if MANY else ["sqlite"])

CASES = int(MANY or 130)
"""So many are drawn, beside those that the document's limits ask for and the sequences."""
OPERATIONS = 13
SEQUENCES = max(CASES // 20, 1)
STEPS = 6
"""So many requests are a sequence."""

ACCOUNTS = 8
EMAILS = [f"user{number}@example.com" for number in range(30)]
BEYOND_A_SCHEMA = ["2xx", "3xx", "401", "403", "404", "409", "422"]
"""Permitted statuses of a request as the document wants it: no schema tells every address and
name that is taken for one, nor a moment that has not passed."""
REFUSED = ["400", "401", "403", "404", "405", "406", "409", "415", "422", "428", "429"]
"""Permitted statuses of a request that is not as the document wants it."""
CONFIG = {
    "seed": 20_262,
    "generation": {"max-examples": -(-CASES // OPERATIONS), "deterministic": True},
    # Else hardly a case would name what is there, and most would end with 404.
    "dictionaries": {
        "ids": {"values": list(range(1, ACCOUNTS + 2))},
        "emails": {"values": EMAILS},
        "names": {"values": [f"user{number}" for number in range(30)]},
        "roles": {"values": ["admin", "support"]},
        "versions": {"values": ["*"]},
    },
    "parameters": {
        "path.id": {"dictionary": "ids", "probability": 0.9},
        "path.role": {"dictionary": "roles", "probability": 0.9},
        "path.name": {"dictionary": "roles", "probability": 0.9},
        "query.role": {"dictionary": "roles", "probability": 0.3},
        "header.If-Match": {"dictionary": "versions", "probability": 0.9},
        "body.email": {"dictionary": "emails", "probability": 0.9},
        "body.username": {"dictionary": "names", "probability": 0.5},
        "body.role": {"dictionary": "roles", "probability": 0.3},
    },
    "operations": [
        {
            "include-path": ["/api/users", "/api/users/{id}/roles/{role}"],
            "checks": {"positive_data_acceptance": {"expected-statuses": BEYOND_A_SCHEMA}},
        },
        {
            # What was drawn names no version that is there, or none at all.
            "include-path": "/api/users/{id}",
            "checks": {
                "positive_data_acceptance": {
                    "expected-statuses": [*BEYOND_A_SCHEMA, "412", "428"],
                },
                "missing_required_header": {"expected-statuses": ["422", "428"]},
                # Whether an address is one is asked after whether the version still is.
                "negative_data_rejection": {"expected-statuses": [*REFUSED, "412"]},
            },
        },
        {
            # The history of an account outlives it.
            "include-path": "/api/users/{id}/grants",
            "checks": {"use_after_free": {"enabled": False}},
        },
    ],
}
DRAWS = 5
"""So often the cases are drawn again, if all of them missed what is there."""


class Accounts:
    """Ada, an administrator, and some others; made again after whatever changed them."""

    put_back: Callable[[], object]

    def __init__(self, web: Site) -> None:
        self.web = web
        with web.inside():
            roles.create("support", allow=["users:read"], unit=a_unit())
        for email in EMAILS[:ACCOUNTS]:
            web.make(email, password=None)
        self.token = web.token("ada@example.com").token
        self.changed = False
        web.app.after_request(self.watch)

    def watch(self, response: Response) -> Response:
        self.changed |= request.method not in SAFE and response.status_code < 400
        return response

    def restore(self) -> None:
        if self.changed:
            self.let_go()
            self.put_back()
            self.changed = False

    def let_go(self) -> None:
        settle(self.web.app)
        close_connections()  # With the last of them SQLite's file holds everything.


@contextmanager
def snapshot(database: Database, server: str | None) -> Iterator[Callable[[], object]]:
    """Return a function that restores the database; no connection may be open, then and now."""
    if server is None:
        file = database.instance / "opsapp.sqlite"
        yield partial(file.write_bytes, file.read_bytes())
        return
    name = make_url(database.url).database
    copy_database(server, name, f"{name}_snapshot")

    def put_back() -> None:
        administer(server, f"DROP DATABASE {name} WITH (FORCE)")
        copy_database(server, f"{name}_snapshot", str(name))

    yield put_back
    administer(server, f"DROP DATABASE {name}_snapshot")


@pytest.fixture
def accounts(web: Site, database: Database, request: pytest.FixtureRequest) -> Iterator[Accounts]:
    """Whom the cases are about."""
    accounts = Accounts(web)
    accounts.let_go()
    server = None if database.is_sqlite else request.getfixturevalue("postgres")
    with snapshot(database, server) as accounts.put_back:
        yield accounts


@pytest.fixture
def document(web: Site, accounts: Accounts) -> BaseSchema:
    """The document of the API, with Ada's token."""
    auth = {"openapi": {"token": {"bearer": accounts.token}}}
    config = schemathesis.Config.from_dict({**CONFIG, "auth": auth})
    document = schemathesis.openapi.from_wsgi("/api/openapi.json", web.app, config=config)

    @document.hook
    def filter_headers(context: HookContext, headers: dict[str, str] | None) -> bool:
        # Its report cannot write down every host that it makes up.
        return all(name.lower() != "host" for name in headers or ())

    return document


@pytest.fixture
def answers(web: Site, document: BaseSchema) -> Iterator[Counter[tuple[str, int]]]:
    """The number of cases by operation and status."""
    if MANY:
        faulthandler.cancel_dump_traceback_later()  # They take longer than a test may hang.
    counted: Counter[tuple[str, int]] = Counter()

    @document.hook
    def after_call(context: HookContext, case: Case, response: schemathesis.Response) -> None:
        counted[case.operation.label, response.status_code] += 1
        settle(web.app)  # Its mail takes random numbers, and so does the next case.

    yield counted
    sys.stdout.write(f"\n{counted.total()} cases\n")
    for (operation, status), number in sorted(counted.items()):
        sys.stdout.write(f"{number:7} {status} {operation}\n")


def test_api_keeps_to_its_document(
    document: BaseSchema,
    accounts: Accounts,
    answers: Counter[tuple[str, int]],
    subtests: pytest.Subtests,
) -> None:
    def validate(case: Case) -> None:
        accounts.restore()
        case.call_and_validate()

    # schemathesis.pytest.from_fixture() needs an attribute of nodes that pytest 9.2 has not.
    tests = get_all_tests(schema=document, test_func=validate, settings=None, given_kwargs={})
    for operation, test in [result.ok() for result in tests]:
        with subtests.test(operation.label):
            for _draw in range(DRAWS):
                test()
                if any(answers[operation.label, status] for status in (200, 201, 204)):
                    break
            else:
                pytest.fail("it was only ever refused, and what it gives was not seen")


def test_api_keeps_to_its_document_in_sequences(
    document: BaseSchema, accounts: Accounts, answers: Counter[tuple[str, int]]
) -> None:
    begun = 0

    class Sequence(document.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            nonlocal begun
            begun += 1
            accounts.restore()

    settings = hypothesis.settings(
        max_examples=SEQUENCES,
        stateful_step_count=STEPS,
        derandomize=True,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    Sequence.run(settings=settings)
    assert begun >= SEQUENCES
