"""The application's own numbers, for Prometheus: counters, gauges and histograms.

    from opsapp.profiling import metrics

    orders = metrics.counter("shop_orders", "Orders that were placed.", ["country"])
    orders.labels("de").inc()

Under a server with several processes each writes into files of its own, in a folder that
all of them share, and whoever asks for ``/metrics`` gets them added up.
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

if TYPE_CHECKING:
    from flask import Flask

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that prometheus-client reads."""
_PID = re.compile(r"_(\d+)\.db$")


class Metric:
    """A metric that is made when it is first used, since only then is known where it is kept."""

    def __init__(self, name: str, make: Callable[[], Any]) -> None:
        self._name = name
        self._make = make

    def __getattr__(self, name: str) -> Any:
        """What prometheus-client's metric has: ``labels``, ``inc``, ``set``, ``observe``, …"""
        return getattr(self._metric(), name)

    def _metric(self) -> Any:
        metric = _made.get(self._name)
        return metric if metric is not None else _made.setdefault(self._name, self._make())


_made: dict[str, Any] = {}
_from_zero: dict[str, Metric] = {}
"""What begins at 0, by its name. A gauge is what it is set to, and else nothing."""


def begin() -> None:
    """Have what has not counted yet say 0: else Prometheus never sees it grow to 1."""
    for metric in list(_from_zero.values()):
        metric._metric()  # noqa: SLF001  (a name without _ would hide one of the metric's own)


def counter(name: str, help: str, labels: Iterable[str] = ()) -> Metric:
    """A number that only grows: ``inc()``. Prometheus sees it as ``NAME_total``."""

    def make() -> Any:
        from prometheus_client import Counter

        return Counter(name, help, tuple(labels))

    return _from_zero.setdefault(name, Metric(name, make))


def gauge(name: str, help: str, labels: Iterable[str] = (), *, together: str = "livesum") -> Metric:
    """A number that goes up and down: ``set()``, ``inc()``, ``dec()``.

    :param together: what is shown of several processes: ``livesum``, ``livemax``, ``livemin``,
        ``livemostrecent``, or ``sum``, ``max``, ``min`` and ``mostrecent``, which also have
        what processes said that have ended.
    """

    def make() -> Any:
        from prometheus_client import Gauge

        return Gauge(name, help, tuple(labels), multiprocess_mode=together)  # type: ignore[arg-type]

    return Metric(name, make)


def histogram(
    name: str, help: str, labels: Iterable[str] = (), *, buckets: Sequence[float] | None = None
) -> Metric:
    """How many fell below each of several bounds: ``observe()``."""

    def make() -> Any:
        from prometheus_client import Histogram

        options: dict[str, Any] = {} if buckets is None else {"buckets": buckets}
        return Histogram(name, help, tuple(labels), **options)

    return _from_zero.setdefault(name, Metric(name, make))


# --- where they are kept ---------------------------------------------------------


def folder(app: Flask) -> Path:
    """Return the folder in which the processes of this installation keep their numbers."""
    return settings.get(FOLDER) or Path(app.instance_path) / "metrics"


def keep(app: Flask) -> None:
    """Have this process keep its numbers where the others do.

    What is left of a server that has ended is removed by the first process of the next.

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
    # It chose when it was imported, perhaps before it could know.
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call]


def _lock(path: Path) -> IO[bytes]:
    # Where a pipe has its name, that nothing reads, the open would wait for ever.
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


def text(app: Flask) -> bytes:
    """Everything there is, as Prometheus reads it."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    place = folder(app)
    if not place.is_dir():
        return b""
    for path, pid in _files(place):
        # A worker that was killed could not say that its gauges are worth nothing now.
        if path.name.startswith("gauge_live") and not _is_alive(pid):
            path.unlink(missing_ok=True)
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(place))  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def rows(app: Flask) -> list[dict[str, Any]]:
    """Everything there is, a row for each sample."""
    from prometheus_client.parser import text_string_to_metric_families

    families = text_string_to_metric_families(text(app).decode())
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
