"""`flask profile`: reports, traces, pages, measurements and what has changed between them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path

import pytest
from flask import Flask

from opsapp import clock
from opsapp.errors import Invalid
from opsapp.models.profiles import DAY, HOUR, MINUTE
from opsapp.profiling.reports import Window, store
from opsapp.profiling.reports import totals as reports
from opsapp.profiling.reports import traces as traces_service
from opsapp.profiling.views import html, text
from opsapp.text import sparkline
from tests.support import Cli, Database, run
from tests.support.windows import a_window, traces

# --- the report ----------------------------------------------------------------


def test_report_has_the_worst_first(cli: Cli, month: Flask) -> None:
    rows = cli("profile", "report", "--format", "json", check=True).json
    assert [row["endpoint"] for row in rows] == ["GET slow", "GET quick"]
    slow, quick = rows
    assert (slow["count"], slow["error_rate"], slow["few"]) == (50, 0.1, True)
    assert (quick["count"], quick["queries"], quick["few"]) == (1000, 2.0, False)
    assert slow["p95_ms"] == pytest.approx(200, rel=0.01)
    assert slow["max_ms"] == 200.0
    assert (slow["share"], quick["share"]) == (0.9091, 0.0909)
    assert slow["error_bound"] == 0.01
    assert len(slow["trend"]) == 24


def test_report_of_nothing_says_so(cli: Cli, app: Flask) -> None:
    done = cli("profile", "report", "--by", "query")
    assert (done.exit_code, done.stdout) == (0, "")
    said = "Nothing was recorded in that time: flask profile report --since 7d\n"
    assert done.stderr == said
    done = cli("profile", "report", "--format", "json")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


@pytest.mark.parametrize("sort", ["errors", "queries"])
def test_report_does_not_sort_queries_by_what_they_have_not(cli: Cli, sort: str) -> None:
    done = cli("profile", "report", "--by", "query", "--sort", sort)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"Error: a query has no {sort} to sort by\n"


def test_prune_keeps_no_more_traces_than_a_database_counts(cli: Cli) -> None:
    done = cli("profile", "prune", "--traces", str(2**70))
    assert done.exit_code == 2


def test_traces_of_an_unknown_kind_are_refused(app: Flask) -> None:
    with pytest.raises(Invalid, match="kind odd is not one of slow, error, asked"):
        traces_service.listing(kind="odd")


def test_window_is_in_the_slot_of_its_middle(app: Flask) -> None:
    midnight = datetime(2026, 6, 15, tzinfo=UTC)
    hours = {3: MINUTE, 10: HOUR, 13: DAY, -12: DAY, -13: DAY, 24: HOUR}
    store("", [_a_window_at(midnight, at, width) for at, width in hours.items()], [], limit=0)
    until = midnight + timedelta(days=1, seconds=-1)
    slots = {0: 12, 3: 3, 10: 10, 23: 13}
    (row,) = reports.report(since=midnight, until=until)
    assert {n: ms for n, ms in enumerate(row["trend"]) if ms is not None} == slots
    totals = reports.over_time(midnight, until)
    assert {n: one.seconds * 1000 for n, one in enumerate(totals) if one.count} == slots
    assert [n for n, one in enumerate(totals) if one.bins] == list(slots)


def _a_window_at(midnight: datetime, hour: int, width: int) -> Window:
    """One request that took as many milliseconds as the hour says."""
    window = a_window("GET a", 1, ms=abs(hour), width=width)
    window.starts_at = int(midnight.timestamp()) + hour * HOUR
    return window


def test_report_is_sorted_and_cut(cli: Cli, month: Flask) -> None:
    done = cli("profile", "report", "--sort", "count", "--limit", "1", "--format", "json")
    assert [row["endpoint"] for row in done.json] == ["GET quick"]


def test_report_for_people_marks_what_has_few_samples(cli: Cli, month: Flask) -> None:
    done = cli("profile", "report")
    header, slow, quick = done.stdout.splitlines()
    assert header.split("\t") == [
        "endpoint", "count", "err %", "p50", "p95", "p99", "max", "share %", "sql", "trend",
    ]  # fmt: skip
    assert slow.split("\t")[:9] == [
        "GET slow", "50", "10.0", "200", "~200", "~200", "200", "90.9", "0.0",
    ]  # fmt: skip
    assert quick.split("\t")[:6] == ["GET quick", "1000", "0.0", "1.00", "1.00", "1.00"]
    assert done.stderr == (
        "Times are in ms; percentiles within 1 %; ~ marks fewer than 100 samples.\n"
    )


def test_report_by_query_and_command(cli: Cli, month: Flask) -> None:
    (query,) = cli("profile", "report", "--by", "query", "--format", "json").json
    assert (query["query"], query["caller"]) == ("SELECT a FROM b WHERE c = ?", "shop.py:3 in f")
    (command,) = cli("profile", "report", "--by", "command", "--format", "json").json
    assert (command["command"], command["count"]) == ("users list", 3)


def test_report_of_nothing_is_empty(cli: Cli, database: Database) -> None:
    done = cli("profile", "report", "--format", "json")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "[]\n", "")


def test_report_leaves_out_what_is_outside_of_the_span(cli: Cli, month: Flask) -> None:
    done = cli("profile", "report", "--until", "2020-01-01", "--since", "2019-01-01",
               "--format", "json")  # fmt: skip
    assert done.json == []


@pytest.mark.parametrize("width", [80, 140])
def test_lines_fit_the_terminal(width: int) -> None:
    row = {
        "endpoint": "GET security.two_factor_token_validation", "count": 123456, "few": True,
        "error_rate": 0.123, "p50_ms": 12.3, "p95_ms": 1234.5, "p99_ms": None, "max_ms": 99999.9,
        "share": 1.0, "queries": 123.45, "trend": [1.0] * 24,
    }  # fmt: skip
    (line,) = text.of_report([row], "endpoint", width)
    first = [name for name in line if width > text.NARROW or name not in text._LAST]
    assert list(line)[: len(first)] == first
    cells = [max(len(name), len(str(line[name]))) for name in first]
    assert sum(cells) + 2 * (len(cells) - 1) <= width


@pytest.mark.parametrize(
    ("width", "bar"), [(80, "·····██···"), (140, "·" * 12 + "█" * 5 + "·" * 7)]
)
def test_lines_of_a_trace_leave_room_for_the_statement(width: int, bar: str) -> None:
    statement = f"SELECT {', '.join(f'a.column_{n}' for n in range(9))} FROM a"
    row = {"at_ms": 50.0, "ms": 20.0, "bar": "", "line": "", "statement": statement}
    (shown,) = text.of_trace({"ms": 100.0, "timeline": [row]}, width)["timeline"]
    assert (shown["bar"], shown["statement"]) == (bar, "SELECT … FROM a")


def test_lines_of_a_trace_group_equal_statements() -> None:
    rows = [
        {"at_ms": float(at), "ms": 1.0, "bar": "", "line": line, "statement": "SELECT 1"}
        for at, line in [*((n, "shop.py:3 in show") for n in range(5)), (9, "a.py:1 in f"),
                         (10, "a.py:1 in f")]
    ]  # fmt: skip
    trace = {"id": 7, "ms": 100.0, "timeline": rows, "stack": ["a.py:1 in f"]}
    lines = text.of_trace(trace, 140)["timeline"]
    assert [(row["at_ms"], row["ms"], row["times"]) for row in lines] == [
        (0.0, 5.0, "×5 N+1"),
        (9.0, 2.0, "×2"),
    ]
    assert text.of_trace(trace, None) == {
        "id": 7,
        "ms": 100.0,
        "timeline 1": f"0.0  5.0  █{'·' * 23}  ×5 N+1  shop.py:3 in show  SELECT 1",
        "timeline 2": f"9.0  2.0  ··█{'·' * 21}  ×2  a.py:1 in f  SELECT 1",
        "stack 1": "a.py:1 in f",
    }


def test_trend_of_a_query_is_short() -> None:
    row = {
        "query": "SELECT 1", "caller": "", "count": 1, "few": True, "p50_ms": 1.0, "p95_ms": 1.0,
        "p99_ms": 1.0, "max_ms": 1.0, "share": 1.0, "trend": [*[None] * 23, 1.0],
    }  # fmt: skip
    (line,) = text.of_report([row], "query", 140)
    assert line["trend"] == "       █"


def test_sparkline_draws_what_is_there() -> None:
    assert sparkline([0.0, 50.0, None, 100.0]) == "▁▅ █"
    assert sparkline([0.0, 0.0]) == "▁▁"
    assert sparkline([]) == ""


# --- traces and pages --------------------------------------------------------------


class Page(HTMLParser):
    """The references of a page, and its tags that are not closed."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.refers: list[str] = []
        self.text = path.read_text()
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.refers += [value or "" for name, value in attrs if name in ("src", "href")]


def test_trace_is_shown(cli: Cli, month: Flask) -> None:
    done = cli("profile", "traces", "--fields", "id,name,ms,queries")
    assert done.stdout == "id\tname\tms\tqueries\n1\tGET slow\t100.0\t1\n"
    shown = cli("profile", "show", "1", "--format", "json").json
    (row,) = shown["timeline"]
    assert (row["at_ms"], row["ms"], row["line"]) == (1.0, 2.0, "shop.py:3 in show")
    assert row["bar"] == "█" + "·" * 23
    assert shown["hot"][0] == {"share": 1.0, "self": 1.0, "function": "shop.py in show"}


def test_trace_in_a_pipe_has_a_line_for_each_row(cli: Cli, month: Flask) -> None:
    lines = cli("profile", "show", "1").stdout.splitlines()
    timeline = f"timeline 1\t1.0  2.0  █{'·' * 23}  shop.py:3 in show  SELECT a FROM b"
    assert timeline in lines
    assert "hot 1\t1.0  1.0  shop.py in show" in lines


@pytest.mark.parametrize("width", [80, 140])
def test_report_of_queries_leaves_room_for_the_statement(month: Flask, width: int) -> None:
    rows = reports.report("query", since=clock.now() - timedelta(hours=1))
    (line,) = text.of_report(rows, "query", width)
    narrow = ["query", "count", "p95", "share %", "line"]
    others = ["count", "line", "p50", "p95", "p99", "max", "share %", "trend"]
    assert list(line) == (narrow if width < text.NARROW else ["query", *others])


def test_failed_traces_are_among_the_slowest(app: Flask) -> None:
    store("one", [], [*traces(30, name="GET a"), *traces(30, name="GET b")], limit=30)
    store("one", [], traces(1, kind="error", name="GET bad", seconds=0.001), limit=5)
    rows = traces_service.worst_traces(20)
    assert (len(rows), rows[-1]["name"]) == (20, "GET bad")


def test_only_failed_request_stays_among_many_failed_commands(app: Flask) -> None:
    bad = traces(1, kind="error", name="GET bad", seconds=0.001)
    commands = [traces(5, kind="error", name=f"jobs {n}", seconds=9)[k] for n in range(9)
                for k in range(5)]  # fmt: skip
    store("one", [], bad, limit=5)
    store("one", [], commands, limit=5)
    store("one", [], traces(30, kind="error", name="GET worse", seconds=1), limit=30)
    store("one", [], [*traces(30, name="db migrate", seconds=60), *traces(name="GET a")], limit=30)
    rows = traces_service.worst_traces(20)
    names = [row["name"] for row in rows]
    assert len(names) == 20
    assert {"GET bad", "GET worse", "GET a", *(f"jobs {n}" for n in range(1, 9))} <= set(names)
    assert (names.count("GET worse"), names.count("db migrate"), names.count("GET a")) == (1, 9, 1)


def test_trace_that_is_not_there(cli: Cli, database: Database) -> None:
    for args in (("show", "9"), ("flame", "9", "-o", "x.html")):
        done = cli("profile", *args)
        assert (done.exit_code, done.stderr) == (
            4, "Error: there is no trace 9\n  → flask profile traces\n",
        )  # fmt: skip


def test_flame_is_one_page(cli: Cli, month: Flask, tmp_path: Path) -> None:
    file = tmp_path / "flame.html"
    done = cli("profile", "flame", "1", "-o", str(file), "--format", "json")
    assert (done.exit_code, done.json["file"]) == (0, str(file))
    page = Page(file)
    assert page.refers == []
    assert 'title="shop.py in show · 50.0 ms · 100.0 %"' in page.text
    assert file.stat().st_mode & 0o777 == 0o600


def test_flame_of_a_trace_without_stacks(cli: Cli, app: Flask, tmp_path: Path) -> None:
    store("one", [], traces(detail={"sent": [], "samples": []}), limit=5)
    done = cli("profile", "flame", "1", "-o", str(tmp_path / "x.html"))
    assert done.exit_code == 4
    assert "no stack was seen in trace 1" in done.stderr


def test_report_is_one_page_and_shows_data_as_text(cli: Cli, app: Flask, tmp_path: Path) -> None:
    hostile = "GET <script>alert(1)</script>\x1b[31m\u202e\u2028"
    windows = [a_window(hostile, 10), a_window("<b>\u2066", 5, kind="query", caller="<i>\x9b")]
    store("one", windows, traces(name=hostile), limit=5)
    file = tmp_path / "report.html"
    assert cli("profile", "report", "--html", str(file)).exit_code == 0
    page = Page(file)
    assert page.refers == []
    assert "<script>alert" not in page.text
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;\x1b[31m\u202e\u2028" in page.text
    assert all(character.isprintable() or character == "\n" for character in page.text)
    assert not re.search(r"https?://(?!www\.w3\.org)", page.text)


def test_page_is_utf8_whatever_the_terminal_speaks(database: Database) -> None:
    args = ("profile", "report", "--html", "report.html")
    done = run(database, *args, LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert (done.exit_code, done.stderr) == (0, "")
    assert " · made " in (database.instance / "report.html").read_text("utf-8")


def test_page_below_a_file_cannot_be_written(cli: Cli, app: Flask, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = cli("profile", "report", "--html", str(tmp_path / "file" / "x.html"))
    assert done.exit_code == 1
    assert done.stderr.endswith("x.html cannot be written: Not a directory\n")


def test_page_of_nothing_says_so(cli: Cli, database: Database, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    assert cli("profile", "report", "--html", str(file)).exit_code == 0
    assert "No request was recorded in this time." in file.read_text()


def test_page_goes_over_no_folder(cli: Cli, month: Flask, tmp_path: Path) -> None:
    done = cli("profile", "report", "--html", str(tmp_path))
    assert (done.exit_code, done.stderr) == (5, f"Error: {tmp_path} is not a file\n")
    done = cli("profile", "report", "--html", str(tmp_path / "none" / "x.html"))
    assert done.exit_code == 1
    assert done.stderr.endswith("cannot be written: No such file or directory\n")


def test_boxes_of_a_flame_fill_their_parent() -> None:
    samples = [[1.0, ["a", "b"]], [3.0, ["a", "c"]]]
    found = {box["name"]: box for box in html.boxes(samples)}
    assert (found["all"]["width"], found["a"]["width"]) == (100, 100)
    assert (found["c"]["left"], found["c"]["width"]) == (0, 75)
    assert (found["b"]["left"], found["b"]["width"]) == (75, 25)


# --- tokens --------------------------------------------------------------------------


def test_pass_is_made(cli: Cli, database: Database) -> None:
    found = cli("profile", "token", "--for", "10m", "--format", "json").json
    assert re.fullmatch(r"\d+\.[\w-]+", found["token"])
    done = cli("profile", "token", "--for", "2d")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: a profile token is valid for 24 hours at most\n",
    )
