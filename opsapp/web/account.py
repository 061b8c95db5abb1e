"""The page of a user's own account: its roles, its sign-in, its open sessions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Flask, flash, g, redirect, render_template, url_for
from flask_security import auth_required

from ..accounts import sessions
from ..accounts.records import user_record
from .actor import signed_in_user, unit_of_self

blueprint = Blueprint("account", __name__)


def init_app(app: Flask) -> None:
    """Add ``/`` and the ending of sessions."""
    app.register_blueprint(blueprint)


@blueprint.get("/")
@auth_required("session")
def show() -> Any:
    """Show the user's own account."""
    user = signed_in_user()
    rows = sessions.listing(str(user.id))
    for row in rows:
        row["current"] = row["id"] == g.get("session_id")
    codes = len(user.mf_recovery_codes or [])
    return render_template(
        "account.html", account=user_record(user), sessions=rows, codes_left=codes
    )


@blueprint.post("/sessions/<int:id>/end")
@auth_required("session")
def end_session(id: int) -> Any:
    """Sign out another browser, or this one."""
    user = signed_in_user()
    sessions.end(str(user.id), [id], unit=unit_of_self(user))
    flash("That session has ended.", "success")
    return redirect(url_for("security.login" if id == g.get("session_id") else "account.show"))
