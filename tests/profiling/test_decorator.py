"""``@profile_endpoint``: a line in the log for each call, and a warning for the slow ones."""

from __future__ import annotations

import logging
import re

import pytest
from flask import Flask
from flask.views import MethodView

from opsapp.profiling.decorator import profile_endpoint

TOOK = re.compile(r"Endpoint (\S+) took \d+\.\d{4} seconds")


@pytest.fixture
def app(caplog: pytest.LogCaptureFixture) -> Flask:
    caplog.set_level(logging.INFO)
    app = Flask("timed")

    @app.get("/plain")
    @profile_endpoint
    def plain() -> str:
        return "plain"

    @app.get("/slow")
    @profile_endpoint(threshold=0.0)
    def slow() -> str:
        return "slow"

    @app.get("/bad")
    @profile_endpoint
    def bad() -> str:
        raise ValueError("no")

    class Items(MethodView):
        decorators = [profile_endpoint]  # noqa: RUF012  (Flask declares it so)

        def get(self, number: int) -> str:
            return f"item {number}"

    @profile_endpoint
    class Things(MethodView):
        def get(self) -> str:
            return "things"

        @profile_endpoint
        def post(self) -> str:
            return "made"

    app.add_url_rule("/items/<int:number>", view_func=Items.as_view("items"))
    app.add_url_rule("/things", view_func=Things.as_view("things"))
    return app


@pytest.mark.parametrize(
    ("path", "names"),
    [("/plain", ["plain"]), ("/items/3", ["items"]), ("/things", ["Things"])],
)
def test_view_is_timed(
    app: Flask, caplog: pytest.LogCaptureFixture, path: str, names: list[str]
) -> None:
    assert app.test_client().get(path).status_code == 200
    assert TOOK.findall(caplog.text) == names
    assert "Slow endpoint" not in caplog.text


def test_method_of_a_view_is_timed_inside_of_its_class(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    assert app.test_client().post("/things").text == "made"
    assert TOOK.findall(caplog.text) == ["post", "Things"]


def test_view_that_raises_is_timed(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    assert app.test_client().get("/bad").status_code == 500
    assert TOOK.findall(caplog.text) == ["bad"]


def test_slow_view_is_warned_of(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    app.test_client().get("/slow")
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert re.fullmatch(r"Slow endpoint detected: slow \(\d+\.\d{4}s\)", warnings[0])


def test_name_and_arguments_of_the_view_stay(app: Flask) -> None:
    assert app.view_functions["plain"].__name__ == "plain"
    assert app.test_client().get("/items/7").text == "item 7"
