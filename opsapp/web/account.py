"""The page of one's own account: what it may do, and where it is signed in."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, flash, g, redirect, render_template, url_for
from flask_login import current_user
from flask_security import auth_required

from ..accounts import sessions
from ..accounts.records import user_record
from ..models import User
from .actor import unit_of_self

blueprint = Blueprint("account", __name__)


def init_app(app: Flask) -> None:
    """Add ``/`` and the ending of sessions."""
    app.register_blueprint(blueprint)


def _me() -> User:
    user: User = current_user._get_current_object()  # noqa: SLF001  (Flask documents this name)
    return user


@blueprint.get("/")
@auth_required("session")
def show() -> Any:
    """One's own account."""
    me = _me()
    opened = [{**one, "current": one["id"] == g.session_id} for one in sessions.listing(str(me.id))]
    return render_template("account.html", account=user_record(me), sessions=opened)


@blueprint.post("/sessions/<int:id>/end")
@auth_required("session")
def end_session(id: int) -> Any:
    """Sign out another browser, or this one."""
    me = _me()
    sessions.end(str(me.id), [id], unit=unit_of_self(me))
    flash("That session has ended.", "success")
    return redirect(url_for("security.login" if id == g.session_id else "account.show"))
