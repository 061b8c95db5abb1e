"""The statements of one endpoint, and the plan of the slowest of a trace."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from opsapp.engine import plans
from opsapp.engine.fingerprint import fingerprint
from opsapp.errors import Invalid, NotFound
from opsapp.extensions import db
from opsapp.models import ProfileTrace, Role, User
from opsapp.profiling.record.recorder import Recorder
from opsapp.profiling.reports.storage import shown_names
from opsapp.profiling.reports.traces import explain
from tests.support import Cli
from tests.support.recorded import ask, flush
from tests.support.web import Site

SINCE = ("--since", "1h")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OF_USERS = sa.select(User.id)
STATEMENTS = {
    "equal": OF_USERS.where(User.email == "a", User.active),
    "in": OF_USERS.where(User.id.in_([1, 2, 3])).limit(5).offset(2),
    "like": OF_USERS.where(User.email.like("a%"), User.created_at > NOW).order_by(User.id % 7),
    "both": sa.union_all(OF_USERS.where(User.id == 1), sa.select(Role.id).where(Role.name == "x")),
    "update": sa.update(User).where(User.id == 1).values(username="it's"),
    "delete": sa.delete(User).where(User.username == 'a "quoted" ?'),
    "rows": sa.insert(Role).values([{"name": str(n), "description": "?"} for n in range(3)]),
    "with": sa.text("WITH u AS (SELECT max(id) AS a FROM ops_roles) SELECT * FROM u WHERE a > 1"),
}


def test_queries_of_one_endpoint_are_its_own(recorded: Site, recorder: Recorder, cli: Cli) -> None:
    for path in ("/people", "/people", "/five/1", "/secret"):
        assert ask(recorded, path) == 200
    flush(recorder)
    report = ("profile", "report", *SINCE, "--format", "json")
    five = cli(*report, "--endpoint", "GET five").json
    assert [(row["query"], row["count"], row["share"]) for row in five] == [("SELECT ? + ?", 5, 1)]
    people = cli(*report, "--by", "query", "--endpoint", "GET people").json
    everything = cli(*report, "--by", "query").json
    assert {row["query"] for row in people} & {row["query"] for row in everything} == {
        row["query"] for row in people
    }
    assert sum(row["count"] for row in people) == 2
    assert {"SELECT ? + ?", "SELECT ?"} <= {row["query"] for row in everything}
    assert cli(*report, "--endpoint", "five").json == five
    assert cli("profile", "traces", "five", "--format", "json").json == (
        cli("profile", "traces", "GET five", "--format", "json").json
    )
    for command in ((*report[:-2], "--endpoint", "fvie"), ("profile", "traces", "fvie")):
        missing = cli(*command)
        assert (missing.exit_code, missing.stdout, missing.stderr) == (
            4,
            "",
            "Error: no endpoint or command fvie is on record\n  → did you mean five?\n",
        )
    refused = cli(*report[:-2], "--endpoint", "GET five", "--by", "command")
    assert (refused.exit_code, refused.stdout, refused.stderr) == (
        2, "", "Error: --endpoint lists queries, and --by is command\n",
    )  # fmt: skip


def test_query_of_two_endpoints_is_one_row_of_all(
    recorded: Site, recorder: Recorder, cli: Cli
) -> None:
    recorded.app.add_url_rule("/folk", "folk", recorded.app.view_functions["people"])
    assert ask(recorded, "/people") == 200
    assert ask(recorded, "/folk") == 200
    flush(recorder)
    report = ("profile", "report", *SINCE, "--by", "query", "--format", "json")
    [accounts] = [row for row in cli(*report).json if "FROM ops_users" in row["query"]]
    assert (accounts["count"], len([slot for slot in accounts["trend"] if slot])) == (2, 1)
    [folk] = [row for row in cli(*report, "--endpoint", "GET folk").json if row["count"] == 1
              and "FROM ops_users" in row["query"]]  # fmt: skip
    assert folk["caller"] == accounts["caller"]


def test_explain_shows_the_plan_of_what_took_longest(
    recorded: Site, recorder: Recorder, cli: Cli
) -> None:
    assert ask(recorded, "/people") == 200
    flush(recorder)
    [trace] = cli("profile", "traces", "GET people", "--format", "json").json
    done = cli("profile", "explain", str(trace["id"]), "--format", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    shown = cli("profile", "show", str(trace["id"]), "--format", "json").json["timeline"]
    assert done.json["statement"] in {row["statement"] for row in shown}
    assert re.search(r"(SCAN|SEARCH|Scan).* ops_\w+", "\n".join(done.json["plan"]))
    lines = cli("profile", "explain", str(trace["id"])).stdout.splitlines()
    steps = [f"plan {number}\t{step}" for number, step in enumerate(done.json["plan"], start=1)]
    assert lines[-len(steps) :] == steps
    missing = cli("profile", "explain", "999")
    assert (missing.exit_code, missing.stdout) == (4, "")
    assert missing.stderr == "Error: there is no trace 999\n  → flask profile traces\n"


def test_explain_of_a_trace_without_statements_says_so(
    recorded: Site, recorder: Recorder, cli: Cli
) -> None:
    assert ask(recorded, "/busy") == 200
    flush(recorder)
    [trace] = cli("profile", "traces", "GET busy", "--format", "json").json
    done = cli("profile", "explain", str(trace["id"]))
    message = f"Error: trace {trace['id']} has no statement with a plan\n"
    assert (done.exit_code, done.stdout, done.stderr) == (4, "", message)


@pytest.mark.parametrize("name", STATEMENTS)
def test_fingerprint_has_a_plan(recorded: Site, name: str) -> None:
    with recorded.inside():
        clause = STATEMENTS[name].compile(db.engine, compile_kwargs={"literal_binds": True})
        text = fingerprint(str(clause), shown_names())
        assert plans.has_plan(text)
        plan = "\n".join(plans.of_fingerprint(db.session(), text))
    assert re.search(r"ops_(users|roles)", plan) or (name, plan) == ("rows", plans.NO_STEPS)


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "constant",
    ["timestamp ?", "TIMESTAMP WITH TIME ZONE ? - interval ?", "timestamptz ?", "date ? + time ?"],
)
def test_constant_with_its_type_before_it_has_a_plan(recorded: Site, constant: str) -> None:
    with recorded.inside():
        text = f"SELECT id FROM ops_users WHERE created_at > {constant} AND id = ?"
        assert "ops_users" in "\n".join(plans.of_fingerprint(db.session(), text))


def test_explain_says_that_a_statement_was_cut(recorded: Site, recorder: Recorder) -> None:
    with recorded.inside():
        trace = ProfileTrace(id=7, detail={"sent": [[0.0, 1.0, "SELECT a, b…", "here"]]})
        with pytest.raises(NotFound) as refused:
            explain(trace)
    assert str(refused.value) == (
        "trace 7 has no statement with a plan; a long one was recorded without its end"
    )


@pytest.mark.parametrize("text", ["BEGIN", "SAVEPOINT a", "SELECT a, b…", "", "?"])
def test_statement_without_a_plan_is_known(text: str) -> None:
    assert not plans.has_plan(text)


def test_statement_that_needs_its_values_is_refused(recorded: Site) -> None:
    with recorded.inside():
        with pytest.raises(Invalid, match="the statement has no plan without its values: "):
            plans.of_fingerprint(db.session(), "SELECT id FROM ops_users WHERE ? ? ?")
        assert db.session.scalar(sa.text("SELECT 1")) == 1  # The transaction goes on.


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_server_without_generic_plans_is_named(
    recorded: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with recorded.inside():
        monkeypatch.setattr(db.engine.dialect, "server_version_info", (15, 18))
        with pytest.raises(Invalid) as refused:
            plans.of_fingerprint(db.session(), "SELECT id FROM ops_users WHERE id = ?")
    assert str(refused.value) == "PostgreSQL 15 plans no statement without its values"
