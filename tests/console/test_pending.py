"""Objects that wait for a commit: a rollback at the end of an input keeps them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
import sqlalchemy.orm as so
from flask import Flask
from sqlalchemy.exc import IntegrityError

from opsapp.console import transactions
from opsapp.console.change_log import Writes
from opsapp.console.pending import Pending
from opsapp.console.transactions import Remains
from opsapp.extensions import db
from opsapp.models import MailMessage
from tests.support import Database
from tests.support.console_play import play
from tests.support.processes import PATIENCE


class Input:
    """The console's end of an input, without a console."""

    def __init__(self) -> None:
        self.pending = Pending(db.session())
        self.writes = Writes([db.engine], self.pending)

    def end(self) -> Remains:
        return transactions.settle(self.writes, self.pending)


@pytest.fixture
def input(app: Flask, ada: str) -> Input:
    db.session.remove()
    return Input()


def message(subject: str | None = "s") -> MailMessage:
    return MailMessage(kind="x", recipient="a@b.c", subject=subject, body="b")


def subjects() -> list[str]:
    """The subjects in the database."""
    with db.engine.connect() as connection:
        query = "SELECT subject FROM ops_mail_messages WHERE kind = 'x' ORDER BY id"
        return list(connection.scalars(sa.text(query)))


def flush() -> None:
    db.session.flush()


def count() -> None:
    db.session.scalar(sa.select(sa.func.count()).select_from(MailMessage))


@pytest.mark.parametrize("send", [flush, count])
def test_added_object_waits(input: Input, send: Callable[[], None]) -> None:
    db.session.add(message())
    send()
    gc.collect()
    assert input.end() == Remains({}, 1)
    assert subjects() == []
    (waiting,) = db.session.new
    assert waiting.id is None
    db.session.commit()
    assert (input.end(), subjects()) == (Remains({}, 0), ["s"])


def test_changed_and_deleted_objects_wait(input: Input) -> None:
    changed, deleted = message("old"), message("gone")
    db.session.add_all([changed, deleted])
    db.session.commit()
    input.end()
    changed.subject = "new"
    db.session.delete(deleted)
    flush()
    assert input.end() == Remains({}, 2)
    assert (subjects(), changed.subject) == (["old", "gone"], "new")
    assert (changed in db.session.dirty, deleted in db.session.deleted) == (True, True)
    db.session.commit()
    assert subjects() == ["new"]


def test_object_changed_after_its_flush_waits_as_it_is_now(input: Input) -> None:
    late = message("early")
    db.session.add(late)
    flush()
    late.subject = "late"
    assert input.end() == input.end() == Remains({}, 1)
    db.session.commit()
    assert subjects() == ["late"]


def test_object_waits_after_its_flush_failed(input: Input) -> None:
    incomplete = message(None)
    db.session.add(incomplete)
    with pytest.raises(IntegrityError):
        count()
    assert input.end() == Remains({}, 1)
    incomplete.subject = "mended"
    db.session.commit()
    assert subjects() == ["mended"]


@pytest.mark.parametrize("send", [flush, lambda: None], ids=["flushed", "added"])
def test_rolled_back_object_is_forgotten(input: Input, send: Callable[[], None]) -> None:
    db.session.add(message())
    send()
    db.session.rollback()
    assert input.end() == Remains({}, 0)
    db.session.add(message())
    send()
    assert transactions.forget(input.pending) == 1
    assert (input.end(), list(db.session.new)) == (Remains({}, 0), [])


@pytest.mark.parametrize("send", [flush, lambda: None], ids=["flushed", "added"])
@pytest.mark.parametrize("roll_back", ["forget", "session"])
def test_object_of_an_earlier_input_is_forgotten(
    input: Input, send: Callable[[], None], roll_back: str
) -> None:
    changed, deleted = message("old"), message("gone")
    db.session.add_all([changed, deleted])
    db.session.commit()
    changed.subject = "new"
    db.session.delete(deleted)
    db.session.add(message())
    send()
    assert input.end() == input.end() == Remains({}, 3)
    transactions.forget(input.pending) if roll_back == "forget" else db.session.rollback()
    assert input.end() == Remains({}, 0)
    assert (changed.subject, subjects()) == ("old", ["old", "gone"])


def test_savepoint_that_was_rolled_back_is_forgotten(input: Input) -> None:
    db.session.add(message("stays"))
    savepoint = db.session.begin_nested()
    db.session.add(message("goes"))
    flush()
    savepoint.rollback()
    assert input.end() == Remains({}, 1)
    db.session.commit()
    assert subjects() == ["stays"]


def test_object_that_was_added_and_deleted_is_no_change(input: Input) -> None:
    brief = message()
    db.session.add(brief)
    flush()
    db.session.delete(brief)
    assert input.end() == Remains({}, 0)


def test_equal_value_is_no_change(input: Input) -> None:
    same = message()
    db.session.add(same)
    db.session.commit()
    for value in ("s", "t", "s"):
        same.subject = value
        if value == "t":
            flush()
            assert input.end() == Remains({}, 1)
    assert input.end() == Remains({}, 0)
    same.subject = "t"
    same.subject = "s"
    assert input.end() == Remains({}, 0)


def test_collection_that_another_object_touches_is_no_change(input: Input) -> None:
    class Base(so.DeclarativeBase):
        pass

    link = sa.Table(
        "link", Base.metadata, *(sa.Column(f"{name}_id", sa.ForeignKey(f"{name}.id"))
                                 for name in ("post", "tag")),
    )  # fmt: skip

    class Tag(Base):
        __tablename__ = "tag"
        id = sa.Column(sa.Integer, primary_key=True)

    class Post(Base):
        __tablename__ = "post"
        id = sa.Column(sa.Integer, primary_key=True)
        comments = so.relationship("Comment", backref="post")
        tags = so.relationship(Tag, secondary=link, backref="posts")

    class Comment(Base):
        __tablename__ = "comment"
        id = sa.Column(sa.Integer, primary_key=True)
        post_id = sa.Column(sa.ForeignKey("post.id"))

    engine = sa.create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with so.Session(engine) as session:
        post, tag = Post(), Tag()
        session.add_all([post, tag])
        session.commit()
        pending = Pending(session)
        for _ in ("unloaded", "loaded"):
            Post(tags=[tag])
            Comment(post=post)
            assert pending.count() == 0
            with session.no_autoflush:
                assert tag.posts
                assert post.comments
        session.rollback()
        post.tags.append(tag)
        assert pending.count() > 0
        session.rollback()
        session.add(Comment(post=post))
        assert pending.count() == 1


@pytest.mark.parametrize("word", ["COMMIT", "end", "ROLLBACK", "abort"])
def test_transaction_that_sql_ended_leaves_nothing(input: Input, kind: str, word: str) -> None:
    if (kind, word) == ("sqlite", "abort"):
        pytest.skip("a word of PostgreSQL")
    db.session.add(message())
    flush()
    change = "UPDATE ops_mail_messages SET subject = 'by SQL' WHERE kind = 'x'"
    db.session.execute(sa.text(change))
    db.session.execute(sa.text(word))
    assert input.end() == Remains({}, 0)
    is_kept = word in ("COMMIT", "end")
    assert subjects() == (["by SQL"] if is_kept else [])
    assert input.writes.committed == (
        {("ops_mail_messages", "inserted"): 1, ("ops_mail_messages", "updated"): 1}
        if is_kept
        else {}
    )


def test_savepoint_that_sql_rolled_back_ends_no_transaction(input: Input) -> None:
    for words in ("UPDATE ops_users SET username = 'x'", "SAVEPOINT here", "ROLLBACK TO here"):
        db.session.execute(sa.text(words))
    assert input.end() == Remains({"ops_users": "1 updated"}, 0)


def test_statement_beside_a_waiting_object_is_lost(input: Input) -> None:
    db.session.add(message())
    db.session.execute(sa.text("INSERT INTO ops_alembic_version VALUES ('x')"))
    assert input.end() == Remains({"ops_alembic_version": "1 inserted"}, 1)


NEW = "p = MailMessage(kind='x', recipient='a@b.c', subject='s', body='b'); db.session.add(p)"


def test_refused_commit_keeps_its_objects(database: Database, ada: str, tmp_path: object) -> None:
    printed = play(
        database.environ,
        database.instance,
        "write",
        [
            f"{NEW}; sql('UPDATE ops_users SET active = :no', no=False); commit()",
            "print('waits', p in db.session.new)",
            "commit()",
        ],
    )
    assert "Refused: this would leave no active administrator" in printed
    assert "waits True" in printed
    assert database.rows("SELECT subject FROM ops_mail_messages WHERE kind = 'x'") == [("s",)]
    assert database.rows("SELECT active FROM ops_users") == [(True,)]


def test_lost_connection_keeps_objects_and_says_the_rest(
    database: Database, kind: str, ada: str
) -> None:
    if kind == "sqlite":
        pytest.skip("speaks of a server")
    printed = play(
        database.environ,
        database.instance,
        "write",
        [
            f"{NEW}; MailMessage.query.count();"
            " sql('INSERT INTO ops_alembic_version VALUES (:x)', x='x');"
            " sql('SELECT pg_terminate_backend(pg_backend_pid())')",
            "commit()",
        ],
    )
    assert "OperationalError: terminating connection" in printed
    assert (
        "Rolled back, because no transaction stays open: ops_alembic_version (1 inserted)"
        in printed
    )
    assert "1 change waits: commit() writes, rollback() forgets." in printed
    assert database.rows("SELECT subject FROM ops_mail_messages WHERE kind = 'x'") == [("s",)]


def test_read_only_session_does_not_offer_a_commit(database: Database, ada: str) -> None:
    printed = play(database.environ, database.instance, "read-only", [NEW])
    assert "1 change waits: this session is read-only, rollback() forgets." in printed


def test_savepoint_that_was_rolled_back_hides_no_other_statement(input: Input) -> None:
    for name in ("first", "second"):
        db.session.execute(sa.text(f"INSERT INTO ops_alembic_version VALUES ('{name}')"))
        with db.session.begin_nested() as savepoint:
            db.session.execute(sa.text("DELETE FROM ops_alembic_version"))
            savepoint.rollback()
    assert input.end() == Remains({"ops_alembic_version": "2 inserted"}, 0)


def test_transaction_of_another_thread_is_its_own(input: Input, app: Flask) -> None:
    begun, settled = threading.Event(), threading.Event()

    def work() -> None:
        with app.app_context():
            db.session.add(message("theirs"))
            db.session.flush()
            begun.set()
            assert settled.wait(PATIENCE)
            db.session.commit()

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(work)
        assert begun.wait(PATIENCE)
        count()
        assert input.writes.uncommitted_changes() == {}
        assert input.end() == Remains({}, 0)
        assert not input.writes.open()
        settled.set()
        done.result(PATIENCE)
    assert subjects() == ["theirs"]


def test_transaction_of_a_thread_that_has_ended_is_rolled_back(input: Input) -> None:
    engine = db.engine

    def insert() -> sa.Connection:
        connection = engine.connect()
        row = {"kind": "x", "recipient": "a@b.c", "subject": "s", "body": "b"}
        connection.execute(sa.insert(MailMessage).values(row))
        return connection

    with ThreadPoolExecutor(1) as pool:
        connection = pool.submit(insert).result(PATIENCE)
    assert input.end() == Remains({"ops_mail_messages": "1 inserted"}, 0)
    assert not connection.in_transaction()
    connection.close()
    assert subjects() == []
