"""`flask shell --web`: requests from the console, as an account."""

from __future__ import annotations

from tests.support import Database, run

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
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "401 200 ada@example.com",
        "401",
        "201 eve@example.com",
        "/login ['/api/me']",
    ]


def test_read_only_session_sends_no_change(database: Database, ada: str) -> None:
    code = "print(client.as_('ada').delete('/api/users/1').status_code)"
    done = run(database, "shell", "--web", "--read-only", "-c", code)
    assert done.exit_code == 0, done.stderr
    assert not done.stdout.startswith("2")
    assert database.rows("SELECT deleted_at FROM ops_users") == [(None,)]


def test_client_without_pages_is_not_there(database: Database, ada: str) -> None:
    done = run(database, "shell", "-c", "client")
    assert "NameError: name 'client' is not defined" in done.stderr
