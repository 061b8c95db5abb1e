"""Metrics: of all workers together, for accounts that may see them, and not by default."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opsapp.errors import NotReady
from opsapp.profiling import metrics
from tests.support import Cli, Database, run
from tests.support.jobwork import job
from tests.support.server import Served, served

WORKERS = (
    "gunicorn --workers 3 --threads 1 --no-control-socket"
    " 'tests.support.wsgi:create_counting_app()'"
)
ON = {"OPSAPP_METRICS": "on"}


def order(site: Served) -> str:
    """Place an order; which worker took it."""
    with closing(site.connect()) as connection:
        connection.request("GET", "/order")
        return connection.getresponse().read().decode()


def scrape(site: Served, token: str | None) -> tuple[int, dict[str, float]]:
    with closing(site.connect()) as connection:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection.request("GET", "/metrics", headers=headers)
        answer = connection.getresponse()
        body = answer.read().decode()
    lines = [line.rpartition(" ") for line in body.splitlines() if not line.startswith("#")]
    is_text = answer.status == 200
    return answer.status, {name: float(value) for name, _, value in lines} if is_text else {}


def test_workers_are_added_up_for_who_may_see_them(
    cli: Cli, database: Database, ada: str, bob: str
) -> None:
    may, may_not = (
        cli("users", "tokens", "create", name, "test", "-q", check=True).stdout.strip()
        for name in (ada, bob)
    )
    with served(database, WORKERS, **ON) as site:
        none = {"opsapp_profiles_lost_total": 0, "shop_quiet_total": 0, "shop_took_count": 0}
        assert scrape(site, may)[1].items() >= none.items()
        workers = {order(site) for _ in range(60)}
        status, found = scrape(site, may)
        assert status == 200
        assert found['shop_orders_total{country="de"}'] == 60
        assert found['shop_took_bucket{le="0.1"}'] == 60
        assert found["shop_queue"] == 3 * len(workers)
        assert scrape(site, None)[0] == 401
        assert scrape(site, "opsapp_nobody")[0] == 401
        assert scrape(site, may_not)[0] == 403
        printed = run(database, "profile", "metrics", "--format", "json", check=True).json
        (orders,) = [row for row in printed if row["metric"] == "shop_orders_total"]
        assert (orders["labels"], orders["value"]) == ({"country": "de"}, 60.0)


BOUNDS = [
    *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5"),
    *("0.75", "1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"),
]
"""The buckets of prometheus-flask-exporter, which are those of prometheus-client."""


def labelled(metric: str, **labels: str) -> str:
    pairs = ",".join(f'{name}="{labels[name]}"' for name in sorted(labels))
    return f"{metric}{{{pairs}}}"


def test_requests_and_jobs_fit_the_dashboards_of_the_exporter(
    cli: Cli, database: Database, ada: str
) -> None:
    token = cli("users", "tokens", "create", ada, "t", "-q", check=True).stdout.strip()
    for command in ("true", "true", "false"):
        job(database, "nightly", "--", command)
    with served(database, WORKERS, OPSAPP_PROFILING="on", **ON) as site:
        for path in ("/order", "/order", "/refused", "/nowhere"):
            site.wire().test_client().get(path)
        scrape(site, token)
        assert run(database, "profile", "request", "GET", "/healthz", **ON).exit_code == 0
        _status, found = scrape(site, token)
    duration = "flask_http_request_duration_seconds"
    ordered = {"method": "GET", "endpoint": "order", "status": "200"}
    for bound in BOUNDS:
        assert labelled(f"{duration}_bucket", **ordered, le=bound) in found
    counts = {name: value for name, value in found.items() if f"{duration}_count" in name}
    missing = {"method": "GET", "endpoint": "(no such page)", "status": "404"}
    failed = {"method": "GET", "endpoint": "refused", "status": "500"}
    health = {"method": "GET", "endpoint": "health.healthz", "status": "200"}
    assert counts == {
        labelled(f"{duration}_count", **ordered): 2,
        labelled(f"{duration}_count", **missing): 1,
        labelled(f"{duration}_count", **failed): 1,
        labelled(f"{duration}_count", **health): 1,  # As the server was awaited.
    }
    by_status = {"200": 3, "404": 1, "500": 1}
    for status, count in by_status.items():
        total = labelled("flask_http_request_total", method="GET", status=status)
        assert found[total] == count
    excepted = {name: it for name, it in found.items() if "request_exceptions_total" in name}
    assert excepted == {
        labelled("flask_http_request_exceptions_total", method="GET", status="500"): 1
    }
    runs = {name: value for name, value in found.items() if name.startswith("opsapp_job_runs")}
    assert runs == {
        labelled("opsapp_job_runs", job="nightly", outcome="succeeded"): 2,
        labelled("opsapp_job_runs", job="nightly", outcome="failed"): 1,
    }
    newest = labelled("opsapp_job_last_run_timestamp_seconds", job="nightly", outcome="failed")
    [(began,)] = database.rows("SELECT max(started_at) FROM ops_job_runs")
    assert found[newest] == datetime.fromisoformat(str(began)).replace(tzinfo=UTC).timestamp()


def test_they_are_off_unless_asked_for(database: Database) -> None:
    with served(database) as site:
        assert scrape(site, None)[0] == 404
    assert not (database.instance / "metrics").exists()
    assert run(database, "profile", "metrics", check=True).stdout == "metric\tlabels\tvalue\n"


COUNT = """
from flask import Flask
from opsapp.profiling import metrics
app = Flask("counting", instance_path=sys.argv[1])
metrics.keep(app)
metrics.counter("shop_orders", "Orders.").inc()
metrics.gauge("shop_queue", "Queue.").set(5)
print(metrics.text(app).decode())
"""


def count_once(instance: Path) -> str:
    """Count one order in a process of its own that then ends; what it sees."""
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + COUNT, str(instance)],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_next_server_begins_anew(tmp_path: Path) -> None:
    assert "shop_orders_total 1.0" in count_once(tmp_path)
    # No process of the server before is alive.
    assert "shop_orders_total 1.0" in count_once(tmp_path)


def test_gauges_of_a_worker_that_was_killed_are_gone(tmp_path: Path) -> None:
    from flask import Flask

    app = Flask("reading", instance_path=str(tmp_path))
    count_once(tmp_path)
    text = metrics.text(app).decode()
    assert "shop_orders_total 1.0" in text
    assert "shop_queue" not in text


def test_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    from flask import Flask

    (tmp_path / "metrics").write_text("in the way")
    before = os.environ.get(metrics.FOLDER)
    with pytest.raises(NotReady, match=r"the metrics folder .* cannot be used"):
        metrics.keep(Flask("counting", instance_path=str(tmp_path)))
    assert os.environ.get(metrics.FOLDER) == before


def test_metric_without_a_server_counts_in_this_process() -> None:
    orders = metrics.counter("test_orders", "Orders.", ["country"])
    again = metrics.counter("test_orders", "Orders.", ["country"])
    orders.labels("de").inc()
    again.labels("de").inc()
    assert orders.labels("de")._value.get() == 2


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_server_starts_without_the_folder_of_its_metrics(
    database: Database, cli: Cli, caplog: pytest.LogCaptureFixture
) -> None:
    folder = database.instance / "metrics"
    folder.mkdir()
    os.mkfifo(folder / ".lock")
    listed = cli("routes", OPSAPP_METRICS="on")
    assert listed.exit_code == 0
    assert "/metrics" not in listed.stdout
    assert caplog.messages == [
        f"the metrics folder {folder} cannot be used: No such device or address;"
        " /metrics is not served"
    ]
