"""Pages of opsapp under an application's own address, and who sees them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from flask import Flask, abort, request
from sqlalchemy.exc import TimeoutError as PoolTimeout

from opsapp import Ops, profiling
from opsapp.database import setup
from opsapp.extensions import db
from opsapp.ops.attached import Attached
from opsapp.profiling import metrics
from opsapp.profiling.reports import traces
from opsapp.state import attachment_of
from tests.ops.conftest import OURS
from tests.support import Database, a_unit
from tests.support.forks import forked

PAGES = ("/ops/healthz", "/ops/metrics", "/ops/profile", "/ops/profile/1")
ADA = {"X-Name": "ada"}


def is_ada() -> object:
    """Let in who says that they are Ada; turn away who says no name."""
    name = request.headers.get("X-Name") or abort(401)
    return name == "ada" or None


@pytest.fixture
def site(
    empty_database: Database, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Flask]:
    """An application with the pages, whose tables are there, as a server has it."""
    url = empty_database.url.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("THEIR_DATABASE_URL", url)
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    monkeypatch.setenv("OPSAPP_INSTANCE", str(tmp_path / "ops"))
    module = import_module("tests.apps.login_app")
    app: Flask = module.create_app()
    app.config.update(OURS, OPSAPP_PROFILING=True)
    Ops(app, module.db, url_prefix="/ops", allow=is_ada)

    @app.get("/slow")
    def slow() -> str:
        return str(module.db.session.query(module.User).count())

    with app.app_context():
        module.db.create_all()
        with attachment_of(app).as_command():
            setup.init(wal=False, unit=a_unit())
    yield app
    with app.app_context():
        recorder = profiling.recorder_of(app)
        if recorder is not None and recorder.writer is not None:
            recorder.writer.stop()
        for engine in attachment_of(app).engines.values():
            engine.dispose()


def test_pages_are_for_whom_the_application_lets_in(site: Flask) -> None:
    client = site.test_client()
    for path in PAGES:
        assert client.get(path).status_code == 401
        assert client.get(path, headers={"X-Name": "bob"}).status_code == 403
    assert client.get("/ops/healthz", headers=ADA).json == {"status": "ok"}
    report = client.get("/ops/profile?hours=0", headers=ADA)
    assert (report.status_code, report.headers["Cache-Control"]) == (200, "no-store")
    assert report.mimetype == "text/html"
    for id in (1, 2**31, 10**23):
        missing = client.get(f"/ops/profile/{id}", headers=ADA)
        assert (missing.status_code, missing.json["code"]) == (404, "not-found")
        assert missing.json["hint"] == "flask ops profile traces"


def test_metrics_are_those_of_the_process_and_404_where_they_are_off(tmp_path: Path) -> None:
    environ = {"OPSAPP_INSTANCE": str(tmp_path / "ops"), "THEIR_MIGRATIONS": str(tmp_path)}
    environ["THEIR_DATABASE_URL"] = f"sqlite:///{tmp_path}/theirs.sqlite"
    # prometheus-client keeps the folder of its first metric until the process ends.
    done = forked(_print_metrics, environ={**os.environ, **environ}, folder=tmp_path)
    assert done == (0, "text/plain\npages_orders_total 3.0\n404\n", "")
    assert (tmp_path / "ops" / "metrics").is_dir()


def _print_metrics() -> None:
    module = import_module("tests.apps.login_app")
    app = module.create_app()
    app.config.update(OURS, OPSAPP_METRICS=True)
    Ops(app, module.db, url_prefix="/ops", allow=is_ada)
    client = app.test_client()
    assert client.get("/ops/healthz").status_code == 401
    metrics.counter("pages_orders", "Orders.").inc(3)
    answer = client.get("/ops/metrics", headers=ADA)
    orders = [line for line in answer.text.splitlines() if line.startswith("pages_orders_total")]
    app.config["OPSAPP_METRICS"] = False
    status = client.get("/ops/metrics", headers=ADA).status_code
    sys.stdout.write(f"{answer.mimetype}\n{orders[0]}\n{status}\n")


def test_who_is_let_in_has_requests_profiled_outside_of_development(site: Flask) -> None:
    client, mode = site.test_client(), {"X-Profile": "1"}
    assert client.get("/slow").text == "0"
    recorder = profiling.recorder_of(site)
    assert recorder is not None
    recorder.is_open = False
    for headers, is_profiled in (({}, False), ({"X-Name": "bob"}, False), (ADA, True)):
        answer = client.get("/slow", headers={**headers, **mode}, buffered=True)
        assert (answer.status_code, answer.text) == (200, "0")
        assert ("Server-Timing" in answer.headers) is is_profiled
    assert recorder.writer is not None
    recorder.writer.flush()
    with site.app_context():
        [row] = traces.listing(kind="asked")
    page = client.get("/ops/profile", headers=ADA).text
    assert f'<a href="profile/{row["id"]}">' in page


def test_pages_without_tables_name_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("THEIR_DATABASE_URL", "sqlite://")
    monkeypatch.setenv("THEIR_MIGRATIONS", str(tmp_path))
    module = import_module("tests.apps.login_app")
    app = module.create_app()
    Ops(app, module.db, url_prefix="/ops", allow=lambda: True)
    answer = app.test_client().get("/ops/profile")
    assert (answer.status_code, answer.json) == (
        503,
        {
            "code": "not-ready",
            "message": "opsapp's tables are not there",
            "hint": "flask ops init",
            "exit_code": 7,
        },
    )


def test_pages_after_the_tables_were_dropped_name_the_command(
    site: Flask, empty_database: Database
) -> None:
    client = site.test_client()
    assert client.get("/ops/profile", headers=ADA).status_code == 200
    recorder = profiling.recorder_of(site)
    assert recorder is not None
    assert recorder.writer is not None
    recorder.writer.stop()
    for table in reversed(db.metadata.sorted_tables):  # As a command in another process does.
        empty_database.execute(f"DROP TABLE IF EXISTS {table.name}")
    for path in ("/ops/profile", "/ops/profile/1"):
        answer = client.get(path, headers=ADA)
        assert (answer.status_code, answer.json["hint"]) == (503, "flask ops init")


def test_pages_of_a_database_that_cannot_be_asked_say_so(
    site: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_self: object) -> bool:
        raise PoolTimeout("QueuePool limit of size 5 overflow 10 reached")

    monkeypatch.setattr(Attached, "look_again", fail)
    answer = site.test_client().get("/ops/profile", headers=ADA)
    assert (answer.status_code, answer.json["message"]) == (
        503,
        "all database connections of this process are in use",
    )


@pytest.mark.parametrize("arguments", [{"url_prefix": "/ops"}, {"allow": lambda: True}])
def test_pages_are_never_open_by_default(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^Ops\(url_prefix=…\) needs allow=…"):
        Ops(**arguments)
