"""Metrics of jobs: the runs on record by outcome, for Prometheus to read at each scrape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import history

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily

LABELS = ("job", "outcome")


class Runs:
    """A collector of prometheus-client.

    The history is the same for each host, and forgets old runs: so these are gauges.
    """

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield how many runs ended how, and when the newest of them began."""
        from prometheus_client.core import GaugeMetricFamily

        runs = GaugeMetricFamily("opsapp_job_runs", "Runs of jobs on record.", labels=LABELS)
        newest = GaugeMetricFamily(
            "opsapp_job_last_run_timestamp_seconds",
            "When the newest run with this outcome began.",
            labels=LABELS,
        )
        for name, status, count, began in history.outcomes():
            runs.add_metric((name, status), count)
            newest.add_metric((name, status), began.timestamp())
        yield runs
        yield newest
