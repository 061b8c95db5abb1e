"""Redaction: one pattern of secret names for columns, variables and options."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from flask import Flask

from opsapp.redaction import (
    HIDDEN,
    is_secret_name,
    mask,
    redact_traceback,
    redact_words,
    secret_values,
)
from opsapp.state import CORE, EXTENSION

SECRET = (
    *("password", "PASSWD", "db_passwd", "password_hash", "passphrase", "client_secret"),
    *("credential", "aws_credentials", "fs_uniquifier", "mf_recovery_codes", "api_key", "APIKEY"),
    *("private_key", "AWS_ACCESS_KEY_ID", "key", "salt", "PASSWORD_SALT", "token", "csrftoken"),
    *("reset_token", "token_hash", "db_pwd", "api-key"),
)
HARMLESS = ("email", "public_key", "avatar_url", "token_count", "monkey", "PWD", "salted", "keys")
PARTLY = ("TOKEN_GITHUB", "SENTRY_DSN", "SIGNING_KEY", "BROKER_URL")
"""Names of variables that may hold a secret, and of columns that hold none."""


@pytest.mark.parametrize("name", SECRET)
def test_secret_name_hides_its_value_everywhere(name: str) -> None:
    assert is_secret_name(name)
    assert mask(name, "swordfish") == HIDDEN
    assert mask("data", {name: "swordfish"}) == {name: HIDDEN}
    assert secret_values({name: "swordfish"}, []) == ("swordfish",)
    option = f"--{name.replace('_', '-')}"
    assert redact_words([option, "swordfish"]) == [option, HIDDEN]


@pytest.mark.parametrize("name", HARMLESS)
def test_harmless_name_hides_nothing(name: str) -> None:
    assert not is_secret_name(name)
    assert mask(name, "swordfish") == "swordfish"


@pytest.mark.parametrize("name", PARTLY)
def test_variable_that_may_hold_a_secret_is_hidden_in_output_only(name: str) -> None:
    assert mask(name, "swordfish") == "swordfish"
    assert secret_values({name: "swordfish"}, []) == ("swordfish",)


def test_secret_of_a_url_is_its_password() -> None:
    assert secret_values({"BROKER_URL": "amqp://me:swordfish@host/"}, []) == ("swordfish",)
    encoded = secret_values({"BROKER_URL": "amqp://me:sword%40fish@host/"}, [])
    assert encoded == ("sword%40fish", "sword@fish")


@pytest.mark.parametrize("name", ["OPSAPP_DATABASE_URL", "SQLALCHEMY_DATABASE_URI"])
def test_traceback_hides_the_password_of_a_url_in_the_configuration(name: str) -> None:
    app = Flask("theirs")
    app.config[name] = "postgresql://ops:sword%40fish@db/ops"
    app.extensions[EXTENSION] = SimpleNamespace(branches=(CORE,))
    with app.app_context():
        report = redact_traceback(ValueError("login of ops with 'sword@fish' failed"))
    assert report == f"ValueError: login of ops with '{HIDDEN}' failed\n"
