"""Metrics: of all workers together, for accounts that may see them, and not by default."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from opsapp.errors import NotReady
from opsapp.profiling import metrics
from tests.support import Cli, Database, run
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
