"""Settings: one reader, and its order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from flask import Flask

from opsapp import settings
from opsapp.errors import Invalid, NotReady
from opsapp.settings import SECRETS, SETTINGS, declared
from opsapp.settings.setting import Setting


def test_application_goes_before_the_environment_and_that_before_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    app = Flask("counting")
    with app.app_context():
        assert settings.get("OPSAPP_SHELL_IDLE") == 30
        monkeypatch.setenv("OPSAPP_SHELL_IDLE", "20")
        assert settings.get("OPSAPP_SHELL_IDLE") == 20
        app.config["OPSAPP_SHELL_IDLE"] = 5
        assert settings.get("OPSAPP_SHELL_IDLE") == 5
    assert settings.get("OPSAPP_SHELL_IDLE") == 20


def test_value_of_the_application_has_the_form_of_the_setting() -> None:
    app = Flask("counting")
    app.config["OPSAPP_JOBS_NOTIFY_AFTER"] = 0
    with app.app_context(), pytest.raises(NotReady) as refused:
        settings.get("OPSAPP_JOBS_NOTIFY_AFTER")
    says = "OPSAPP_JOBS_NOTIFY_AFTER '0' is not a number from 1 to 1000"
    assert refused.value.message == says


@pytest.mark.parametrize("setting", SETTINGS, ids=[setting.name for setting in SETTINGS])
def test_default_of_each_setting_is_of_its_form(setting: Setting, tmp_path: Path) -> None:
    environ = {"OPSAPP_INSTANCE": str(tmp_path)}
    value = settings.get(setting.name, environ)
    if value is not None and setting.name != "OPSAPP_JOBS_NOTIFY":
        assert settings.get(setting.name, {**environ, setting.name: str(value)}) == value


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("OPSAPP_PROXIES", "-1", "OPSAPP_PROXIES '-1' is not a whole number"),
        ("OPSAPP_METRICS", "maybe", "OPSAPP_METRICS 'maybe' is neither on nor off"),
        ("OPSAPP_TWO_FACTOR", "some", "OPSAPP_TWO_FACTOR 'some' is not one of optional, admins,"
         " everybody"),
        ("OPSAPP_STATEMENT_TIMEOUT", "-1", "OPSAPP_STATEMENT_TIMEOUT '-1' is not a number of"
         " seconds"),
        ("OPSAPP_SHELL_IDLE", "nan", "OPSAPP_SHELL_IDLE 'nan' is not a number of minutes"),
        ("OPSAPP_URL", "ops", "OPSAPP_URL 'ops' is not of the form https://ops.example.com"),
        ("OPSAPP_NAME", "a\nb", r"OPSAPP_NAME a\x0ab: it has the character U+000A at position 2,"
         " which a terminal would obey and not show"),
        ("OPSAPP_ENV", "a\u202eb", r"OPSAPP_ENV a\u202eb: it has the character U+202E at position"
         " 2, which a terminal would obey and not show"),
    ],
)  # fmt: skip
def test_wrong_value_is_named(name: str, value: str, says: str) -> None:
    with pytest.raises(NotReady) as refused:
        settings.get(name, {name: value})
    assert refused.value.message == says


@pytest.mark.parametrize("name", [setting.name for setting in SETTINGS])
def test_value_that_is_not_utf8_is_refused(name: str) -> None:
    with pytest.raises(NotReady) as refused:
        settings.get(name, {name: os.fsdecode(b"caf\xe9")})
    assert refused.value.message == f"{name} is not UTF-8"


def test_folder_that_is_not_utf8_holds_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(os.fsdecode(b"/srv/caf\xe9"))
    monkeypatch.setattr(declared, "_in_instance", lambda name, values: folder / name)
    with pytest.raises(NotReady) as refused:
        settings.get("OPSAPP_DATABASE_URL", {})
    assert refused.value.message == "the path /srv/caf\udce9/opsapp.sqlite is not UTF-8"
    assert refused.value.hint == "set OPSAPP_INSTANCE to another folder"


def test_value_in_place_of_an_option_is_invalid() -> None:
    for name, value in (("OPSAPP_FORMAT", "yaml"), ("OPSAPP_ACTOR", "a\x1bb")):
        with pytest.raises(Invalid, match=f"^{name} "):
            settings.get(name, {name: value})


@pytest.mark.parametrize("name", SECRETS)
def test_secret_is_needed_and_strong_outside_development(name: str, tmp_path: Path) -> None:
    environ = {"OPSAPP_ENV": "staging", "OPSAPP_INSTANCE": str(tmp_path)}
    with pytest.raises(NotReady, match=f"{name} is not set, and OPSAPP_ENV is staging"):
        settings.get(name, environ)
    file = tmp_path / "secret"
    file.write_text("short")
    with pytest.raises(NotReady, match=f"{name} is 5 bytes long; 32 are needed"):
        settings.get(name, {**environ, f"{name}_FILE": str(file)})
    assert list(tmp_path.iterdir()) == [file]


def test_texts_for_create_app_are_read_as_those_of_the_environment() -> None:
    texts = {"OPSAPP_REGISTRATION": "off", "OPSAPP_SESSION_HOURS": "3", "OTHER": "off"}
    assert settings.parse_config({**texts, "OPSAPP_METRICS": True, "OPSAPP_URL": ""}) == {
        "OPSAPP_REGISTRATION": False, "OPSAPP_SESSION_HOURS": 3, "OTHER": "off",
        "OPSAPP_METRICS": True, "OPSAPP_URL": "",
    }  # fmt: skip
    with pytest.raises(NotReady, match="OPSAPP_SESSION_HOURS"):
        settings.parse_config({"OPSAPP_SESSION_HOURS": "abc"})
    with pytest.raises(NotReady, match=r"OPSAPP_SESSION_HOURS.* is not a number from 1 to 99999"):
        settings.parse_config({"OPSAPP_SESSION_HOURS": "0"})
