"""The cost of recording: ``python -m bench.profiling [--silk]``.

An endpoint that sends five SELECTs is asked in turns with the recorder on and off, in one
process, through WSGI and without a network, so that nothing else hides what it costs. With
``--silk`` the same is asked of Django with and without django-silk (both are installed from
PyPI into a folder of its own), and what each adds to a request is compared. The report is
run over a month of two hundred endpoints, as compacting leaves them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import venv
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

from .installation import Installation, sqlite, workspace
from .measure import (
    ROOT,
    Program,
    Row,
    at_most,
    compile_everything,
    environ,
    once,
    pairs,
    say,
    show,
)

QUERIES = 5
ENDPOINTS = 200
BURST = 20
"""Requests that are asked before it is the other's turn: less time than a machine's moods take."""
SILK_ROUNDS = 41
SENDING = ("do_execute", "do_executemany")
"""The methods of a dialect that the recorder puts its own in the place of."""
CALLS = 100_000


def main() -> int:
    """Measure and print; the exit code."""
    options = _options()
    compile_everything()
    with ExitStack() as stack:
        folder = stack.enter_context(workspace())
        installation = sqlite(folder, "profiling")
        say("recorder on : off …")
        run = f"from bench.profiling import recorder; recorder({options.rounds})"
        figures = json.loads(once(_python(installation, run)).stdout)
        rows = _of_recorder(figures)
        if options.silk:
            rows += _of_silk(folder, figures["added_us"])
        else:
            rows.append(Row("django-silk adds : the recorder adds", "left out: needs --silk"))
        rows += _of_report(installation, options.reports)
    return show(f"Profiling, medians of {options.rounds} pairs of {BURST} requests", rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.profiling", description=__doc__)
    parser.add_argument("--silk", action="store_true", help="compare with django-silk, from PyPI")
    parser.add_argument("--rounds", type=int, default=401, help="pairs for the ratio")
    parser.add_argument("--reports", type=int, default=7, help="pairs of whole reports")
    return parser.parse_args()


def _python(installation: Installation, code: str) -> Program:
    return installation.program(sys.executable, "-c", code, PYTHONPATH=str(ROOT))


# --- the recorder ----------------------------------------------------------------


def _of_recorder(figures: dict[str, Any]) -> list[Row]:
    detail = f" (adds {figures['added_us']:.0f} to {figures['bare_us']:.0f} µs)"
    beside = figures["beside_us"]
    return [
        at_most(f"recorder on : off, {QUERIES} queries, CPU", figures["ratio"], 1.05, detail),
        Row("writing what it counted, every 5 s, CPU", f"{figures['flush_ms']:.1f} ms"),
        Row("a request that is not profiled", f"{beside:.2f} µs", "≤ 2 µs", beside <= 2),
    ]


def recorder(rounds: int) -> None:
    """Measure the recorder inside of this process, and print the figures as JSON."""
    import opsapp
    from opsapp.extensions import db
    from opsapp.profiling import install

    # One application with and without it: two of the same differ by half a percent anyhow.
    app = opsapp.create_app({"OPSAPP_PROFILING": False})
    ask = _site(app)
    off: Any = (app.wsgi_app, {})
    writer = install(app).writer
    with app.app_context():
        dialect = vars(db.engine.dialect)
    on = (app.wsgi_app, {name: dialect[name] for name in SENDING})

    def burst(state: Any) -> float:
        app.wsgi_app, methods = state
        for name in SENDING:
            dialect.pop(name, None)
        dialect.update(methods)
        return _burst(ask)

    ratio, added, bare = in_turns(partial(burst, on), partial(burst, off), rounds)
    figures = {"ratio": ratio, "added_us": added, "bare_us": bare, "beside_us": _beside()}
    json.dump({**figures, "flush_ms": _flush(writer, partial(burst, on))}, sys.stdout)


def _flush(writer: Any, burst: Callable[[], float]) -> float:
    """Milliseconds of CPU of writing what was counted since the last time."""
    costs: list[float] = []
    for _ in range(9):
        burst()
        started = process_time()
        writer.flush()
        costs.append(process_time() - started)
    return median(costs) * 1e3


def _site(app: Any) -> Callable[[], None]:
    """One request to an endpoint of this application, as a server would call it."""
    import sqlalchemy as sa
    from werkzeug.test import EnvironBuilder

    from opsapp.extensions import db
    from opsapp.models import Role

    query = sa.select(Role).where(Role.name == sa.bindparam("name"))

    def five() -> str:
        for _ in range(QUERIES):
            db.session.scalars(query, {"name": "admin"}).one()
        return "ok"

    app.add_url_rule("/five", view_func=five)
    return _asker(app, EnvironBuilder("/five").get_environ())


def _asker(application: Any, environ: dict[str, Any]) -> Callable[[], None]:
    def start_response(status: str, *_rest: Any) -> None:
        if not status.startswith("200"):
            raise RuntimeError(status)

    def ask() -> None:
        body = application(dict(environ), start_response)
        b"".join(body)
        body.close()

    return ask


def in_turns(
    on: Callable[[], float], off: Callable[[], float], rounds: int
) -> tuple[float, float, float]:
    """The median ratio of CPU, what ``on`` adds to a request, and what ``off`` takes, in µs.

    :param on: sends a burst with the recorder, and says how many seconds it took.
    """
    on(), off()
    costs: list[tuple[float, float]] = []
    for number in range(rounds):
        if number % 2:
            second, first = off(), on()
        else:
            first, second = on(), off()
        costs.append((first, second))
    ratio = median(on_cost / other for on_cost, other in costs)
    added = median(on_cost - other for on_cost, other in costs) / BURST * 1e6
    return ratio, added, median(other for _cost, other in costs) / BURST * 1e6


def _burst(ask: Callable[[], None]) -> float:
    started = process_time()
    for _ in range(BURST):
        ask()
    return process_time() - started


def _beside() -> float:
    """Microseconds of a request where the recorder is off and X-Profile is not asked for."""
    import opsapp

    app = opsapp.create_app({"OPSAPP_PROFILING": False})
    looked_at, app.dispatch_request = app.dispatch_request, lambda: "ok"  # type: ignore[method-assign]
    from opsapp.web import x_profile

    x_profile.init_app(app)
    with app.test_request_context("/"):
        bare, looked = (lambda: "ok"), app.dispatch_request
        differences = []
        for _ in range(5):
            times = []
            for call in (bare, looked):
                started = perf_counter()
                for _ in range(CALLS):
                    call()
                times.append(perf_counter() - started)
            differences.append((times[1] - times[0]) / CALLS * 1e6)
    del looked_at
    return median(differences)


# --- django-silk -----------------------------------------------------------------

_SETTINGS = """
import os
from pathlib import Path
SECRET_KEY = "for the benchmark"
WITH_SILK = os.environ["WITH_SILK"] == "1"
INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes"] + ["silk"] * WITH_SILK
MIDDLEWARE = ["silk.middleware.SilkyMiddleware"] * WITH_SILK
ROOT_URLCONF = "site_urls"
ALLOWED_HOSTS = ["*"]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True,
  "OPTIONS": {"context_processors": ["django.template.context_processors.request"]}}]
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3",
  "NAME": Path(__file__).with_name("db.sqlite3")}}
"""
_URLS = f"""
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.urls import path

def five(request):
    for _ in range({QUERIES}):
        Group.objects.get(name="admin")
    return HttpResponse("ok")

urlpatterns = [path("five", five)]
"""
_ASK = """
import json, os, sys
from time import process_time
os.environ["DJANGO_SETTINGS_MODULE"] = "settings"
from django.core.wsgi import get_wsgi_application
application = get_wsgi_application()
environ = json.loads(sys.argv[1])
from io import BytesIO
def ask():
    body = application({**environ, "wsgi.input": BytesIO(), "wsgi.errors": sys.stderr},
                       lambda *_: None)
    b"".join(body)
    body.close()
for _ in range(20):
    ask()
for line in sys.stdin:
    started = process_time()
    for _ in range(int(line)):
        ask()
    print(process_time() - started, flush=True)
"""
_ENVIRON = {
    "REQUEST_METHOD": "GET", "PATH_INFO": "/five", "SCRIPT_NAME": "", "QUERY_STRING": "",
    "SERVER_NAME": "localhost", "SERVER_PORT": "80", "SERVER_PROTOCOL": "HTTP/1.1",
    "wsgi.url_scheme": "http", "wsgi.multithread": True, "wsgi.multiprocess": True,
    "wsgi.run_once": False, "wsgi.version": [1, 0], "REMOTE_ADDR": "127.0.0.1",
}  # fmt: skip


def _of_silk(folder: Path, own_cost: float) -> list[Row]:
    say("Django with and without django-silk …")
    project = folder / "django"
    project.mkdir()
    (project / "settings.py").write_text(_SETTINGS)
    (project / "site_urls.py").write_text(_URLS)
    venv.create(folder / "venv", with_pip=True)
    python = str(folder / "venv" / "bin" / "python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "django", "django-silk"], check=True, env=environ())
    migrate = "import django; django.setup(); from django.core.management import call_command as c"
    settings = environ(DJANGO_SETTINGS_MODULE="settings", WITH_SILK="1")
    add = "from django.contrib.auth.models import Group; Group.objects.create(name='admin')"
    code = f"{migrate}; c('migrate', verbosity=0); {add}"
    subprocess.run([python, "-c", code], check=True, env=settings, cwd=project)
    with ExitStack() as stack:
        sites = [_django(stack, python, project, with_silk) for with_silk in ("1", "0")]
        costs = [[_run_burst(site, BURST) for site in sites] for _ in range(SILK_ROUNDS)]
    added = median(with_silk - without for with_silk, without in costs) / BURST * 1e6
    ratio = added / max(own_cost, 0.1)
    figure = f"{ratio:.0f} ({added:.0f} : {own_cost:.0f} µs)"
    return [Row("django-silk adds : the recorder adds", figure, "≥ 50", ratio >= 50)]


def _django(stack: ExitStack, python: str, project: Path, with_silk: str) -> Any:
    return stack.enter_context(
        subprocess.Popen(
            [python, "-c", _ASK, json.dumps(_ENVIRON)],
            env=environ(WITH_SILK=with_silk),
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )


def _run_burst(site: Any, count: int) -> float:
    site.stdin.write(f"{count}\n")
    site.stdin.flush()
    return float(site.stdout.readline())


# --- the report ------------------------------------------------------------------


def _of_report(installation: Installation, rounds: int) -> list[Row]:
    say(f"a report over 30 days of {ENDPOINTS} endpoints …")
    once(_python(installation, "from bench.profiling import fill; fill()"))
    report = installation.flask("profile", "report", "--since", "30d", OPSAPP_PROFILING="off")
    start = installation.flask("roles", "list", OPSAPP_PROFILING="off")
    day = installation.flask("profile", "report", "--since", "1d", OPSAPP_PROFILING="off")
    pair = pairs(report, start, rounds)
    beyond = pair.a.cpu - pair.b.cpu
    memory = pair.a.peak / once(day).peak
    return [
        Row("report over 30 days, beyond start-up", f"{beyond:.2f} s", "≤ 1 s", beyond <= 1),
        at_most("its memory, 30 days : 1 day", memory, 1.1, f" ({pair.a.peak / 1e6:.0f} MB)"),
    ]


def fill() -> None:
    """Write a month of two hundred endpoints, as compacting leaves it."""
    import random
    import time

    import opsapp
    from opsapp.profiling import ddsketch
    from opsapp.profiling.reports import Window, store

    chance = random.Random(1)  # noqa: S311  (the same month every time)
    app = opsapp.create_app({"OPSAPP_PROFILING": False})
    now = int(time.time())
    starts = [(60, now // 60 * 60 - n * 60) for n in range(120)]
    starts += [(3600, now // 3600 * 3600 - n * 3600) for n in range(2, 74)]
    starts += [(86400, now // 86400 * 86400 - n * 86400) for n in range(3, 31)]
    with app.app_context():
        for width, start in starts:
            windows = []
            for number in range(ENDPOINTS):
                window = Window(("endpoint", f"GET endpoint.{number}", "", ""), start, width)
                durations = [chance.lognormvariate(-4, 1) for _ in range(100)]
                window.bins = ddsketch.of(durations)
                window.count, window.seconds = len(durations), sum(durations)
                window.most = max(durations)
                windows.append(window)
            store("", windows, [], limit=0)


if __name__ == "__main__":
    sys.exit(main())
