"""The application's own metrics, for Prometheus: counters, gauges and histograms.

    from opsapp.profiling import metrics

    orders = metrics.counter("shop_orders", "Orders that were placed.", ["country"])
    orders.labels("de").inc()

Each process of a server writes files of its own into a common folder. ``/metrics`` adds
them up. See docs/decisions/profiling.md#metrics-are-created-at-first-use.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from .. import settings
from ..errors import NotReady
from ..state import instance_of

if TYPE_CHECKING:
    from flask import Flask
    from prometheus_client.registry import Collector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus-client reads."""
_PID = re.compile(r"_(\d+)\.db$")


class Metric:
    """A metric that is created at its first use, when its folder is known."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of prometheus-client's metric: ``labels``, ``inc``, ``set``, …"""
        return getattr(self._metric(), name)

    def _metric(self) -> Any:
        metric = _made.get(self._name)
        return metric if metric is not None else _made.setdefault(self._name, self._make())


_made: dict[str, Any] = {}
_from_zero: dict[str, Metric] = {}
"""The metrics that begin at 0, by name. A gauge has no value until it is set."""


def begin() -> None:
    """Set unused counters to 0, so that Prometheus sees them grow to 1."""
    for metric in list(_from_zero.values()):
        metric._metric()  # noqa: SLF001  (a name without _ would hide one of the metric's own)


def counter(name: str, help: str, labels: Iterable[str] = ()) -> Metric:
    """Return a number that only grows: ``inc()``. Prometheus sees it as ``NAME_total``."""

    def make() -> Any:
        from prometheus_client import Counter

        return Counter(name, help, tuple(labels))

    return _from_zero.setdefault(name, Metric(name, make))


def gauge(name: str, help: str, labels: Iterable[str] = (), *, together: str = "livesum") -> Metric:
    """Return a number that goes up and down: ``set()``, ``inc()``, ``dec()``.

    :param together: the value of several processes: ``livesum``, ``livemax``, ``livemin``,
        ``livemostrecent``, or ``sum``, ``max``, ``min`` and ``mostrecent``, which include
        processes that have ended.
    """

    def make() -> Any:
        from prometheus_client import Gauge

        return Gauge(name, help, tuple(labels), multiprocess_mode=together)  # type: ignore[arg-type]

    return Metric(name, make)


def histogram(
    name: str, help: str, labels: Iterable[str] = (), *, buckets: Sequence[float] | None = None
) -> Metric:
    """Return a count of values below each of several bounds: ``observe()``."""

    def make() -> Any:
        from prometheus_client import Histogram

        options: dict[str, Any] = {} if buckets is None else {"buckets": buckets}
        return Histogram(name, help, tuple(labels), **options)

    return _from_zero.setdefault(name, Metric(name, make))


# --- files -------------------------------------------------------------------


def folder(app: Flask) -> Path:
    """Return the folder for the metrics of this installation's processes."""
    return settings.get(FOLDER) or instance_of(app) / "metrics"


def keep(app: Flask) -> None:
    """Store the metrics of this process in the common folder.

    The first process of a server removes the files of the server before.

    :raises NotReady: the folder cannot be used.
    """
    from prometheus_client import values

    place = folder(app)
    try:
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _lock(place / ".lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = _files(place)
            if not any(_is_alive(pid) for _path, pid in files):
                for path, _pid in files:
                    path.unlink(missing_ok=True)
    except OSError as error:
        raise NotReady(f"the metrics folder {place} cannot be used: {error.strerror}") from error
    os.environ[FOLDER] = str(place)
    # prometheus-client chose at import, perhaps before the folder was known.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def _lock(path: Path) -> IO[bytes]:
    # Opening a pipe without a reader would block.
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NONBLOCK, 0o600), "wb")


def _files(place: Path) -> list[tuple[Path, int]]:
    matches = ((path, _PID.search(path.name)) for path in place.glob("*.db"))
    return [(path, int(pid[1])) for path, pid in matches if pid is not None]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def text(app: Flask, *collectors: Collector) -> bytes:
    """Return all metrics in Prometheus' format.

    :param collectors: sources that no process counts, such as tables of the database.
    """
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    place = folder(app)
    if not place.is_dir():
        return b""
    for path, pid in _files(place):
        # A killed worker could not remove its gauges.
        if path.name.startswith("gauge_live") and not _is_alive(pid):
            path.unlink(missing_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(place))  # type: ignore[no-untyped-call]
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry)


def rows(app: Flask, *collectors: Collector) -> list[dict[str, Any]]:
    """Return a row for each sample of each metric."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text(app, *collectors).decode())
    return [
        {
            "metric": sample.name,
            "labels": dict(sample.labels),
            "value": sample.value,
            "kind": family.type,
            "help": family.documentation,
        }
        for family in families
        for sample in family.samples
    ]


lost = counter("opsapp_profiles_lost", "Requests that were recorded and could not be written.")
