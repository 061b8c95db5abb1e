"""Commits of a program: what was forgotten, what is refused."""

from __future__ import annotations

import pytest

from tests.support import Database, Result, run
from tests.support.console_play import MAKE, play


@pytest.mark.parametrize("code", ['sql("UPDATE ops_users SET active = :no", no=False)',
                                  'sql("DELETE FROM ops_grants")'])  # fmt: skip
def test_commit_keeps_an_administrator_from_sql(database: Database, ada: str, code: str) -> None:
    result = run(database, "shell", "-c", f"{code}\ncommit()")
    assert result.exit_code == 5
    assert "Error: this would leave no active administrator who can sign in" in result.stderr
    assert database.rows("SELECT active FROM ops_users") == [(True,)]
    assert database.rows("SELECT count(*) FROM ops_grants") == [(1,)]


def test_commit_without_an_administrator_is_not_refused(database: Database, ada: str) -> None:
    database.execute("UPDATE ops_users SET active = :no", no=False)
    code = "sql(\"UPDATE ops_roles SET description = 'x'\")\nprint(commit())"
    result = run(database, "shell", "-c", code)
    assert (result.exit_code, result.stdout) == (0, "{'ops_roles': '1 updated'}\n")


def test_what_was_not_committed_is_undone(database: Database, ada: str) -> None:
    code = "db.session.execute(sa.text(\"INSERT INTO ops_alembic_version VALUES ('x')\"))"
    result = run(database, "shell", "-c", code)
    assert result.exit_code == 1
    assert result.stderr == (
        "Not committed: ops_alembic_version (1 inserted)."
        " End the program with commit() or rollback().\n"
    )
    assert database.rows("SELECT count(*) FROM ops_alembic_version WHERE version_num = 'x'") == [
        (0,)
    ]


@pytest.mark.parametrize(
    ("code", "left"),
    [
        ("db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))", 1),
        ("m = MailMessage(kind='x', recipient='a@b.c', subject='s', body='b')\n"
         "db.session.add(m)\ndb.session.flush()", 1),
        ("db.session.add_all(MailMessage(kind='x', recipient=f'{n}@b.c', subject='s', body='b')"
         " for n in range(2))\nMailMessage.query.count()", 2),
    ],
    ids=["added", "flushed", "autoflushed"],
)  # fmt: skip
def test_program_that_forgets_to_commit_fails(
    database: Database, ada: str, code: str, left: int
) -> None:
    result = run(database, "shell", "-c", code)
    changes = "1 change" if left == 1 else f"{left} changes"
    assert (result.exit_code, result.stderr) == (
        1,
        f"Not committed: {changes}. End the program with commit() or rollback().\n",
    )
    for mode, ending, exit_code in (
        ("--write", "commit()", 0),
        ("--write", "rollback()", 0),
        ("--write", "raise SystemExit", 1),
        ("--write", "raise SystemExit(3)", 3),
        ("--sandbox", "pass", 0),
    ):
        assert run(database, "shell", mode, "-c", f"{code}\n{ending}").exit_code == exit_code


@pytest.mark.parametrize("word", ["commit", "end", "rollback"])
def test_transaction_that_sql_ended_is_no_missing_commit(
    database: Database, ada: str, word: str
) -> None:
    code = f"sql(\"UPDATE ops_users SET username = 'eve'\"); sql('{word}')"
    assert run(database, "shell", "-c", code) == Result(0, "", "")
    name = "ada" if word == "rollback" else "eve"
    assert database.rows("SELECT username FROM ops_users") == [(name,)]


def test_service_is_refused_while_changes_wait(database: Database, ada: str) -> None:
    change = "sql(\"UPDATE ops_mail_messages SET subject = 'x'\")"
    add = "db.session.add(MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'))"
    insert = f"{add}\nMailMessage.query.count()"
    for code, words in ((add, "1 change"), (insert, "1 change"), (change, "ops_mail_messages (")):
        result = run(database, "shell", "-c", f"{code}\n{MAKE}")
        assert result.exit_code == 5, result
        line, hint = result.stderr.splitlines()
        assert "a service needs its own transaction, and there are uncommitted changes" in line
        assert words in line
        assert hint == "  → commit() or rollback() first"
    assert run(database, "shell", "-c", f"{add}\ncommit()\n{MAKE}").stdout == "carl\n"


INSERT = "sa.insert(MailMessage).values(kind='x', recipient='a@b.c', subject='s', body='b')"
ADD = "MailMessage(kind='x', recipient='a@b.c', subject='s', body='b')"
ABANDONED = {
    "context": f"with app.app_context(): db.session.add({ADD})",
    "flushed": f"with app.app_context(): db.session.add({ADD}); db.session.flush()",
    "thread": (
        "from concurrent.futures import ThreadPoolExecutor\n"
        f"def add():\n    with app.app_context(): db.session.add({ADD})\n"
        "ThreadPoolExecutor().submit(add).result()"
    ),
    "connection": f"with db.engine.connect() as c: c.execute({INSERT})",
    "collected": (
        f"import gc\ndef insert(): db.engine.connect().execute({INSERT})\ninsert(); gc.collect()"
    ),
    "session": f"with sa.orm.Session(db.engine) as s: s.add({ADD})",
    "open session": f"s = sa.orm.Session(db.engine); s.add({ADD})",
    "removed": f"db.session.add({ADD}); db.session.remove()",
    "savepoint": (
        f"db.session.begin_nested(); db.session.add({ADD}); db.session.flush()\ndb.session.close()"
    ),
    "closed": f"db.session.add({ADD}); db.session.flush(); db.session.close()",
}
"""Programs that lose a message without a call of rollback()."""
LINE = (
    "Not committed: ops_mail_messages (1 inserted)."
    " Commit before the context, session or connection ends.\n"
)


@pytest.mark.parametrize("code", ABANDONED.values(), ids=ABANDONED)
def test_program_that_closes_before_a_commit_fails(database: Database, ada: str, code: str) -> None:
    done = run(database, "shell", "-c", code)
    assert (done.exit_code, done.stdout, done.stderr) == (1, "", LINE)
    assert database.rows("SELECT count(*) FROM ops_mail_messages WHERE kind = 'x'") == [(0,)]


ENDED = {
    "committed": f"with app.app_context(): db.session.add({ADD}); db.session.commit()",
    "rolled back": f"with app.app_context(): db.session.add({ADD}); db.session.rollback()",
    "savepoint": (
        f"with db.engine.begin() as c:\n    s = c.begin_nested()\n"
        f"    c.execute({INSERT}); s.rollback()"
    ),
    "begun": f"with db.engine.begin() as c: c.execute({INSERT})",
    "undone": f"with db.engine.connect() as c: c.execute({INSERT}); c.rollback()",
    "read": "with app.app_context(): MailMessage.query.all()",
    "of a service": 'users.update("ada", username="ada3")',
    "of a request": (
        "@app.post('/add')\n"
        f"def add():\n    db.session.add({ADD}); db.session.flush(); return 'x'\n"
        "client.post('/add')"
    ),
    "of a request to a view that ends its own": (
        "@app.get('/t')\n"
        f"def t():\n    db.session.add({ADD}); db.session.flush(); db.session.close()\n"
        f"    db.session.add({ADD}); db.session.remove()\n"
        f"    with db.engine.connect() as c: c.execute({INSERT})\n"
        "    return 'x'\n"
        "app.test_client().get('/t')"
    ),
}


@pytest.mark.parametrize("code", ENDED.values(), ids=ENDED)
def test_program_that_ends_its_transactions_is_well(
    database: Database, ada: str, code: str
) -> None:
    done = run(database, "shell", "--web", "-c", code)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")


RELATED = """
class Base(sa.orm.DeclarativeBase): pass
link = sa.Table("link", Base.metadata, *(
    sa.Column(f"{name}_id", sa.ForeignKey(f"{name}.id")) for name in ("post", "tag")
))
class Tag(Base):
    __tablename__ = "tag"
    id = sa.Column(sa.Integer, primary_key=True)
class Post(Base):
    __tablename__ = "post"
    id = sa.Column(sa.Integer, primary_key=True)
    title = sa.Column(sa.String)
    comments = sa.orm.relationship("Comment", backref="post")
    tags = sa.orm.relationship(Tag, secondary=link, backref="posts")
class Comment(Base):
    __tablename__ = "comment"
    id = sa.Column(sa.Integer, primary_key=True)
    post_id = sa.Column(sa.ForeignKey("post.id"))
engine = sa.create_engine("sqlite://")
Base.metadata.create_all(engine)
with sa.orm.Session(engine) as s:
    s.add_all([Post(title="t"), Tag()]); s.commit()
with sa.orm.Session(engine) as s:
    post, tag = s.get(Post, 1), s.get(Tag, 1)
    post.comments, tag.posts
"""


@pytest.mark.parametrize("line", ["Comment(post=post)", "Post(tags=[tag])", "post.title = 't'"])
def test_closed_object_that_only_others_refer_to_is_no_change(
    database: Database, ada: str, line: str
) -> None:
    assert run(database, "shell", "-c", f"{RELATED}    {line}") == Result(0, "", "")


@pytest.mark.parametrize("line", ["post.tags.append(tag)", "post.title = 'u'"])
def test_closed_object_with_a_change_is_told(database: Database, ada: str, line: str) -> None:
    done = run(database, "shell", "-c", f"{RELATED}    {line}")
    assert done.exit_code == 1
    assert "post (1 updated)" in done.stderr


def test_sandbox_says_what_was_abandoned(database: Database, ada: str) -> None:
    done = run(database, "shell", "--sandbox", "-c", ABANDONED["context"])
    assert done.exit_code == 0
    assert done.stderr.startswith(LINE)


def test_read_only_session_advises_no_commit(database: Database, ada: str) -> None:
    done = run(database, "shell", "--read-only", "-c", ABANDONED["context"])
    assert (done.exit_code, done.stderr) == (1, "Not committed: ops_mail_messages (1 inserted).\n")


def test_input_that_closes_before_a_commit_says_so(database: Database, ada: str) -> None:
    cells = [ABANDONED["context"], "print(1)", ABANDONED["closed"]]
    said = play(database.environ, database.instance, "write", cells)
    assert said.count(LINE) == 2
    assert "wait" not in said


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_statement_that_the_server_has_committed_is_no_missing_commit(
    database: Database, ada: str
) -> None:
    code = f"""
engine = db.engine.execution_options(isolation_level="AUTOCOMMIT")
with engine.connect() as c: c.execute({INSERT})
c = engine.connect(); c.execute({INSERT})
"""
    done = run(database, "shell", "-c", code)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "")
    assert database.rows("SELECT count(*) FROM ops_mail_messages WHERE kind = 'x'") == [(2,)]


@pytest.fixture
def function(database: Database, ada: str) -> Database:
    """A database with a function that writes."""
    database.execute(
        "CREATE FUNCTION rename() RETURNS integer LANGUAGE sql AS"
        " $$ UPDATE ops_users SET username = 'eve'; SELECT 1 $$"
    )
    return database


EXECUTE = "db.session.execute(sa.text('SELECT rename()'))"
SAVEPOINT = "with db.session.begin_nested(): db.session.execute(sa.text('SELECT 1'))\n"
UNDONE = f"with db.session.begin_nested() as point:\n    {EXECUTE}; point.rollback()\n"


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("before", ["", SAVEPOINT, UNDONE], ids=["none", "released", "undone"])
def test_function_that_writes_beside_a_savepoint_is_committed(
    function: Database, before: str
) -> None:
    done = run(function, "shell", "-c", f"{before}{EXECUTE}\nprint(commit())")
    counts = "{'others': '1 locked, or written by a function'}\n"
    assert (done.exit_code, done.stdout) == (0, counts)
    assert function.rows("SELECT username FROM ops_users") == [("eve",)]


FORGOTTEN = {
    "released": SAVEPOINT + EXECUTE,
    "undone": UNDONE + EXECUTE,
    "closed": f"{SAVEPOINT}{EXECUTE}\ndb.session.close()",
    "in a savepoint": f"db.session.begin_nested(); {EXECUTE}; db.session.close()",
    "earlier savepoint": (
        "c = db.engine.connect(); c.begin_nested().commit(); c.commit()\n"
        "c.execute(sa.text('SELECT rename()')); c.close()"
    ),
}
"""Programs that lose the write of a function."""


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("code", FORGOTTEN.values(), ids=FORGOTTEN)
def test_function_whose_write_was_not_committed_is_told(function: Database, code: str) -> None:
    done = run(function, "shell", "-c", code)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Not committed: others (1 written by a function). ")
    assert function.rows("SELECT username FROM ops_users") == [("ada",)]


NUMBER = "db.session.execute(sa.text(\"SELECT nextval('ops_users_id_seq')\"))"
LOCK = "db.session.execute(sa.select(User).with_for_update()).all()"


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize(
    "code",
    [f"with app.app_context(): {LOCK}", LOCK, f"{LOCK}; db.session.close()", UNDONE, NUMBER],
    ids=["context", "open", "closed", "undone", "sequence"],
)
def test_lock_and_undone_function_are_no_missing_commit(function: Database, code: str) -> None:
    assert run(function, "shell", "-c", code) == Result(0, "", "")
