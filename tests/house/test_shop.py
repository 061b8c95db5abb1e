"""The shop: an application on opsapp has the whole console, and its own on top.

It runs in processes of its own, since its tables join the metadata of the process that imports it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import ACCOUNTS, CORE, FLASK, HEAD, PASSWORD, ROOT, Database, Result, fields, run
from tests.support.processes import ended, gate_held, start
from tests.support.server import served
from tests.support.templates import ADA, Templates
from tests.support.web import Browser, Program

SHOP = {"FLASK_APP": "examples.shop", "PYTHONPATH": f"{ROOT}"}
STOCK = ("shop", "stock", "tea", "3", "--cents", "450")
BOTH = f"{HEAD} shop0001"
SERVING = "gunicorn --workers 2 --threads 4 --no-control-socket 'examples.shop:create_app()'"

Shop = Callable[..., Result]


@pytest.fixture
def database(
    templates: Templates, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Database]:
    """With the shop's tables for who asks for it, and Ada."""
    commands = (*ADA, STOCK) if "tea" in request.fixturenames else ADA
    environ = SHOP if "shop" in request.fixturenames else {}
    with templates.copy(tmp_path / "instance", commands, **environ) as database:
        yield database


@pytest.fixture
def shop(database: Database) -> Shop:
    """``shop("users", "list")`` runs a command of the shop; Ada administers it."""
    return partial(run, database, **SHOP)


@pytest.fixture
def tea(shop: Shop) -> str:
    """A product with three pieces in stock."""
    return "tea"


# --- migrations --------------------------------------------------------------


def test_one_init_brings_both_to_head(empty_database: Database) -> None:
    first = run(empty_database, "db", "init", "--format", "json", **SHOP)
    assert (first.exit_code, first.stderr) == (0, "")
    assert (first.json["before"], first.json["audit_seq"]) == (None, 2)
    assert first.json["revision"] == BOTH
    again = run(empty_database, "db", "init", "--format", "json", **SHOP)
    assert (again.exit_code, again.json["changed"], again.json["before"]) == (0, False, BOTH)
    found = run(empty_database, "db", "check", **SHOP)
    assert (found.exit_code, found.stdout) == (0, "No new upgrade operations detected.\n")


def test_init_adds_the_shop_to_a_console_that_is_there(database: Database) -> None:
    shop = partial(run, database, **SHOP)
    assert shop("db", "init").exit_code == 0
    status = shop("db", "status", "--format", "json")
    assert (status.exit_code, status.json["ready"]) == (0, True)
    assert (status.json["revision"], status.json["head"]) == (BOTH, BOTH)
    event = shop("audit", "list", "--limit", "1", "--format", "json").json[0]
    assert event["action"] == "database:schema:upgrade"
    assert (event["before"], event["after"]) == ({"revision": HEAD}, {"revision": BOTH})


@pytest.mark.parametrize("target", ["base", "shop@base", "-1"])
def test_shop_is_taken_back_and_put_on_again(database: Database, shop: Shop, target: str) -> None:
    assert shop("db", "downgrade", "--yes", "--", target).exit_code == 0
    left = database.rows("SELECT version_num FROM ops_alembic_version")
    assert sorted(left) == ([] if target == "base" else [(ACCOUNTS,), (CORE,)])
    assert shop("db", "upgrade").exit_code == 0
    assert shop("db", "status", "--fields", "revision").stdout.endswith(f"{BOTH}\n")
    assert shop("shop", "products", "--format", "json").json == []


def test_change_waits_for_the_shop_s_migrations(shop: Shop) -> None:
    shop("db", "downgrade", "shop@base", "--yes", check=True)
    found = shop("roles", "create", "support")
    assert (found.exit_code, found.stdout, found.stderr) == (
        7,
        "",
        "Error: the tables of shop are at revision none, and this code is at shop0001\n"
        "  → flask db init\n",
    )
    checks = shop("doctor", "--format", "json").json
    (row,) = [one for one in checks if one["check"] == "migrations"]
    assert (row["state"], row["advice"]) == ("fail", "flask db init")


def test_database_of_a_newer_shop_is_left_alone(database: Database, shop: Shop) -> None:
    database.execute(
        "UPDATE ops_alembic_version SET version_num = 'shop0009' WHERE version_num LIKE 'shop%'"
    )
    said = (
        "Error: the tables of shop are at revision shop0009, and this code is at shop0001\n"
        "  → deploy the code that the database fits\n"
    )
    for command in (["roles", "create", "support"], ["db", "init"]):
        found = shop(*command)
        assert (found.exit_code, found.stdout, found.stderr) == (7, "", said)


def test_console_alone_works_on_the_shop_s_database(database: Database, shop: Shop) -> None:
    assert fields(run(database, "db", "status").stdout)["ready"] == "true"
    found = run(database, "roles", "create", "support", "-q")
    assert (found.exit_code, found.stdout) == (0, "support\n")


@pytest.mark.parametrize("verb", ["current", "check", "upgrade", "stamp", "downgrade"])
def test_console_alone_says_whose_migrations_it_lacks(
    database: Database, shop: Shop, verb: str
) -> None:
    more = {"stamp": ["head", "--yes"], "downgrade": ["--yes"]}.get(verb, [])
    found = run(database, "db", verb, *more)
    assert (found.exit_code, found.stdout, found.stderr) == (
        7,
        "",
        "Error: the database is at shop0001 too, a migration that this application does not have\n"
        "  → name the application of shop: flask --app …\n",
    )
    assert database.rows("SELECT count(*) FROM ops_alembic_version") == [(3,)]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the examples, to be changed."""
    shutil.copytree(ROOT / "examples", tmp_path / "copy" / "examples")
    return tmp_path / "copy"


def test_migrate_writes_the_next_one_into_the_shop_s_folder(
    database: Database, shop: Shop, checkout: Path
) -> None:
    models = checkout / "examples" / "shop" / "models.py"
    line = "    title: so.Mapped[str] = so.mapped_column(sa.String(200))\n"
    added = "    shown_at: so.Mapped[datetime | None] = so.mapped_column(UTCDateTime)\n"
    assert line in models.read_text()
    models.write_text(models.read_text().replace(line, line + added))
    here = {**SHOP, "PYTHONPATH": str(checkout)}
    found = run(database, "db", "migrate", "-m", "show posts", **here)
    assert found.exit_code == 0, found.stderr
    (written,) = (checkout / "examples" / "shop" / "migrations").glob("shop0002*")
    second, _, slug = written.stem.partition("_")
    assert (len(second), slug) == (len("shop0002") + 5, "show_posts")
    assert 'sa.Column("shown_at", sa.DateTime(timezone=True)' in written.read_text().replace(
        "'", '"'
    )
    assert run(database, "db", "init", "-q", **here).stdout == f"{HEAD} {second}\n"
    assert database.rows("SELECT shown_at FROM shop_posts") == []
    # None of ours was written.
    assert not list((ROOT / "migrations").rglob("*show_posts*"))


def test_migrate_begins_the_branch_of_an_application_that_has_none(
    database: Database, checkout: Path
) -> None:
    folder = checkout / "examples" / "shop" / "migrations"
    for path in folder.glob("*.py"):
        path.unlink()
    here = {**SHOP, "PYTHONPATH": str(checkout)}
    assert run(database, "db", "migrate", "-m", "create shop", **here).exit_code == 0
    (written,) = folder.glob("*.py")
    first, _, slug = written.stem.partition("_")
    assert (first[:8], len(first), slug) == ("shop0001", 13, "create_shop")
    assert run(database, "db", "init", "-q", **here).stdout == f"{HEAD} {first}\n"
    assert run(database, "db", "check", **here).exit_code == 0


def test_migrate_writes_no_file_without_a_difference(
    database: Database, shop: Shop, checkout: Path
) -> None:
    here = {**SHOP, "PYTHONPATH": str(checkout)}
    before = sorted(checkout.rglob("*.py"))
    done = run(database, "db", "migrate", "-m", "nothing", **here)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "No changes in schema detected."
    assert sorted(checkout.rglob("*.py")) == before


@pytest.mark.parametrize("verb", ["migrate", "revision"])
def test_migration_of_opsapp_itself_is_refused(database: Database, verb: str) -> None:
    before = sorted((ROOT / "migrations").rglob("*.py"))
    done = run(database, "db", verb, "-m", "x")
    assert (done.exit_code, done.stdout, done.stderr) == (
        5,
        "",
        "Error: the migration would be one of opsapp's own\n"
        "  → name your folder in create_app(): opsapp.migrations.add(app, 'shop', FOLDER)\n",
    )
    assert sorted((ROOT / "migrations").rglob("*.py")) == before


# --- commands ----------------------------------------------------------------


def test_help_of_the_shop_stands_beside_ours(shop: Shop) -> None:
    listed = shop("--help").stdout
    assert "  shop     " in listed
    assert "Stock products, place orders." in listed
    assert shop("shop", "order", "--help").exit_code == 0


def test_stock_is_audited_and_harmless_to_repeat(shop: Shop) -> None:
    stock = ("shop", "stock", "tea", "3", "--cents", "450", "--format", "json")
    plan = shop(*stock, "--dry-run").json
    assert (plan["changed"], plan["plan"][0]["action"]) == (True, "shop:product:stock")
    assert shop("shop", "products", "--format", "json").json == []
    made = shop(*stock, "--reason", "delivery").json
    assert made["changed"] is True
    assert shop(*stock).json["changed"] is False
    events = shop("audit", "list", "--limit", "1", "--format", "json").json
    assert [(e["action"], e["subject"], e["reason"]) for e in events] == [
        ("shop:product:stock", f"product:{made['id']}", "delivery")
    ]
    about = shop("audit", "list", "--subject", f"product:{made['id']}", "--format", "json").json
    assert about == events
    assert shop("audit", "verify").exit_code == 0


def test_order_takes_the_stock_and_is_confirmed(database: Database, shop: Shop, tea: str) -> None:
    found = shop("shop", "order", "ada", tea, "--quantity", "2", "--format", "json")
    assert found.exit_code == 0
    assert json.loads(found.stderr) == {"remarks": ["Warning: 1 left of tea"]}
    assert (found.json["quantity"], found.json["cents"]) == (2, 900)
    assert database.rows("SELECT stock FROM shop_products") == [(1,)]
    mail = (
        "SELECT recipient, subject, sent_at IS NOT NULL FROM ops_mail_messages"
        " WHERE kind = 'order_placed'"
    )
    assert database.rows(mail) == [("ada@example.com", "opsapp: Your order 1", 1)]
    assert shop("shop", "orders", "--user", "ada", "--fields", "id").stdout == "id\n1\n"
    file = database.instance / "ada.json"
    shop("users", "personal-data", "ada", str(file), check=True)
    [order] = json.loads(file.read_text())["application"]["orders"]
    assert (order["id"], order["product"]) == (1, "tea")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["ada", "tea", "--quantity", "4"], 3, "there are 3 of tea, not 4"),
        (["ada", "tee"], 4, "no product tee"),
        (["bob", "tea"], 4, "no user bob"),
        (["ada", "tea", "--quantity", "0"], 2, "quantity 0 is not between 1 and 1000000"),
    ],
)
def test_order_that_cannot_be_is_refused(
    database: Database, shop: Shop, tea: str, words: list[str], code: int, says: str
) -> None:
    found = shop("shop", "order", *words, "--format", "json")
    assert (found.exit_code, found.stdout) == (code, "")
    assert json.loads(found.stderr)["message"] == says
    assert database.rows("SELECT id FROM shop_orders") == []
    assert database.rows("SELECT stock FROM shop_products") == [(3,)]


def test_last_pieces_are_sold_once(database: Database, shop: Shop, tea: str) -> None:
    command = ("shop", "order", "ada", tea, "--quantity", "2", "-q")
    at = [f"{name}={value}" for name, value in SHOP.items()]
    with gate_held(database):
        racing = [start(database, "/usr/bin/env", *at, FLASK, *command) for _ in range(3)]
    done = sorted(ended(one).exit_code for one in racing)
    assert done == [0, 3, 3]
    assert database.rows("SELECT stock FROM shop_products") == [(1,)]


def test_permission_of_the_shop_is_known(shop: Shop) -> None:
    rows = shop("roles", "matrix", "--format", "json").json
    assert "shop:manage" in [row["permission"] for row in rows]


# --- the shell ---------------------------------------------------------------


def test_lines_of_the_shell_work_and_verbs_need_no_unit(
    database: Database, shop: Shop, tea: str
) -> None:
    found = shop(
        "shell",
        stdin="""\
user = create_user('john', 'john@example.com')
db.session.add(user)
db.session.commit()
print(orders.place('john', 'tea')['quantity'], P('tea').stock)
db.session.add(Post(author_id=user.id, title='Hello'))
print(commit())
""",
    )
    assert (found.exit_code, found.stdout, found.stderr) == (
        0,
        "1 2\n{'shop_posts': '1 inserted'}\n",
        "Warning: 2 left of tea\n",
    )
    event = "SELECT door FROM ops_audit_events WHERE action = 'shop:order:place'"
    assert database.rows(event) == [("shell",)]


def test_guarded_table_is_closed_to_the_shell(database: Database, shop: Shop, tea: str) -> None:
    found = shop("shell", "-c", "P('tea').stock = 50\ndb.session.commit()")
    assert (found.exit_code, found.stderr) == (
        5,
        "Error: shop_products change through a unit of work only\n"
        "  → a service of the application does that: a function that takes unit=\n",
    )
    assert database.rows("SELECT stock FROM shop_products") == [(3,)]


# --- served ------------------------------------------------------------------


def test_shop_is_served(database: Database, shop: Shop, tea: str) -> None:
    shop("users", "create", "bob@example.com", "--no-password", check=True)
    token = ("users", "tokens", "create")
    ours = shop(*token, "ada", "test", "-q", check=True).stdout.strip()
    theirs = shop(*token, "bob@example.com", "test", "-q", check=True).stdout.strip()
    on = {"OPSAPP_PROFILING": "on", "OPSAPP_METRICS": "on"}
    with served(database, SERVING, **SHOP, **on) as site:
        client = site.wire().test_client()
        answer = client.get("/heavy-computation", headers={"X-Profile": "1"})
        assert (answer.status_code, answer.text) == (200, "Result: 333328333350000")
        assert client.get("/api/data").json == {"data": "response"}
        answer = client.get("/orders")
        assert (answer.status_code, answer.headers["Location"]) == (302, "/login?next=/orders")

        browser = Browser(site.wire())
        browser.sign_in("ada@example.com", PASSWORD)
        assert "none yet" in browser.get("/orders").text
        assert client.post("/orders", data={"product": tea}).status_code == 400
        placed = browser.post("/orders", {"product": tea})
        assert (placed.status_code, placed.headers["Location"]) == (302, "/orders")
        assert "1 of tea" in browser.get("/orders").text

        assert client.get("/api/shop/products").status_code == 401
        assert Program(site.wire(), theirs)("GET", "/api/shop/products").status_code == 403
        program = Program(site.wire(), ours)
        products = program("GET", "/api/shop/products").json["products"]
        assert [(one["name"], one["stock"]) for one in products] == [("tea", 2)]
        assert 'shop_orders_total{product="tea"} 1.0' in program("GET", "/metrics").text
    door = "SELECT door FROM ops_audit_events WHERE action = 'shop:order:place'"
    assert database.rows(door) == [("web",)]
    sent = (
        "SELECT count(*) FROM ops_mail_messages WHERE kind = 'order_placed' AND sent_at IS NOT NULL"
    )
    assert database.rows(sent) == [(1,)]
    asked = shop("profile", "traces", "--kind", "asked", "--format", "json").json
    assert [one["name"] for one in asked] == ["GET shop.heavy_computation"]
