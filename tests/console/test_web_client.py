"""`flask shell --web`: requests from the console, as an account."""

from __future__ import annotations

import pytest

from opsapp.console.namespace import OF_WEB
from tests.support import Database, run
from tests.support.consoles import console

CODE = """
anonymous, ada = client.get("/api/me"), client.as_("ada").get("/api/me")
print(anonymous.status_code, ada.status_code, ada.json["user"]["email"])
print(client.get("/api/me").status_code)
made = client.as_(U("ada")).post("/api/users", json={"email": "eve@example.com", "username": "eve"})
rollback()  # On SQLite this program would go on seeing what was there before.
print(made.status_code, U("eve").email)
print(url_for("security.login"), [row["path"] for row in routes("/api/me")][:1])
"""


def test_requests_are_sent_as_an_account(database: Database, ada: str) -> None:
    done = run(database, "shell", "--web", "-c", CODE)
    assert done.exit_code == 0, done.stderr
    logged = [line.partition(" refused ")[2] for line in done.stderr.splitlines()]
    assert logged == ["401 GET /api/me of a stranger at 127.0.0.1: Sign in, or send a token."] * 2
    assert done.stdout.splitlines() == [
        "401 200 ada@example.com",
        "401",
        "201 eve@example.com",
        "/login ['/api/me']",
    ]


READ_ONLY = "This session is read-only: flask shell --sandbox, or --write."
WRITES = """
@app.post("/of-the-application")
def change():
    db.session.add(MailMessage(kind="x", recipient="a@b.c", subject="s", body="b"))
    db.session.commit()
ada = client.as_("ada")
for send in (
    lambda: ada.delete("/api/users/1", headers={"If-Match": "*"}),
    lambda: ada.post("/sessions/end-others"),
    lambda: client.post("/login", data={"email": "ada", "password": "x"}),
    lambda: ada.post("/of-the-application"),
    lambda: ada.post("/of-the-application", headers={"Accept": "application/json"}),
):
    answer = send()
    print(answer.status_code, answer.is_json, WORDS in answer.text, "try again" in answer.text)
"""


def test_request_of_a_read_only_session_says_so(database: Database, ada: str) -> None:
    code = WRITES.replace("WORDS", repr(READ_ONLY))
    done = run(database, "shell", "--web", "--read-only", "-c", code)
    assert done.exit_code == 0, done.stderr
    page, json = "403 False True False", "403 True True False"
    assert done.stdout.splitlines() == [json, page, page, page, json]
    assert database.rows("SELECT deleted_at FROM ops_users") == [(None,)]


@pytest.mark.parametrize("name", OF_WEB)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_name_of_the_pages_without_them_says_how_to_get_it(
    database: Database, ada: str, name: str
) -> None:
    message = f"NameError: name '{name}' is not defined\n"
    advice = f"→ {name} is there after flask shell --web"
    done = run(database, "shell", "-c", name)
    trace = 'Traceback (most recent call last):\n  File "<-c>", line 1, in <module>\n'
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", f"{trace}{message}  {advice}\n")
    with console(database) as user:
        user.wait()
        assert user.type(name).endswith(message + advice)
        assert "→" not in user.type("nosuch")
    with console(database, "--plain", prompt=">>> ") as user:
        user.wait()
        assert user.type(name).endswith(message + advice)


def test_example_of_each_name_of_the_pages_works(database: Database, ada: str) -> None:
    code = """
from opsapp.console.web_client import names
with names(app) as bound: lines = list(bound.items())
for _name, (_value, line) in lines:
    eval(line.partition(": ")[2])
"""
    done = run(database, "shell", "--web", "--read-only", "-c", code)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
