"""The page of a user's own account: roles, login, open sessions, API tokens."""

from __future__ import annotations

from typing import Any, cast

from flask import Blueprint, Flask, abort, flash, g, redirect, render_template, url_for
from flask_security import auth_required

from .. import text
from ..accounts import grants, sessions, tokens
from ..accounts.records import user_record
from ..models import User
from ..types import Record
from . import user_agent
from .actor import signed_in_user, unit_of_self
from .security.forms import VerifyAgainForm

blueprint = Blueprint("account", __name__)


def init_app(app: Flask) -> None:
    """Add ``/``, and the ending of sessions and tokens."""
    app.register_blueprint(blueprint)


@blueprint.get("/")
@auth_required("session")
def show() -> Any:
    """Show the user's own account."""
    user = signed_in_user()
    return render_template(
        "account.html",
        account=_safe_values(user_record(user)),
        grants=[_safe_values(row) for row in grants.of_user(user.id) if row["state"] == "live"],
        codes_left=len(user.mf_recovery_codes or []),
        sessions=_sessions(user),
        tokens=[_safe_values(row) for row in _live_tokens(user)],
    )


def _safe_values(row: Record) -> Record:
    return {name: text.safe_value(value) for name, value in row.items()}


def _sessions(user: User) -> list[Record]:
    return [
        {
            **row,
            "current": row["id"] == g.get("session_id"),
            "browser": user_agent.describe(row["user_agent"]),
        }
        for row in map(_safe_values, sessions.listing(str(user.id)))
    ]


def _live_tokens(user: User) -> list[Record]:
    return [row for row in tokens.listing(str(user.id)) if row["state"] == "live"]


@blueprint.post("/sessions/<int:id>/end")
@auth_required("session")
def end_session(id: int) -> Any:
    """Sign out another browser, or this one."""
    user = signed_in_user()
    sessions.end(str(user.id), [id], unit=unit_of_self(user))
    flash("That session has ended.", "success")
    return redirect(url_for("security.login" if id == g.get("session_id") else "account.show"))


@blueprint.route("/sessions/end-others", methods=["GET", "POST"])
@auth_required("session")
def end_other_sessions() -> Any:
    """Sign out every other browser, with the password."""
    user = signed_in_user()
    form = VerifyAgainForm(user=cast(Any, user))
    if form.validate_on_submit():
        count = sessions.end_others(user.id, g.get("session_id"), unit=unit_of_self(user))
        subject = "One other session has" if count == 1 else f"{count or 'No'} other sessions have"
        flash(f"{subject} ended.", "success")
        return redirect(url_for("account.show"))
    return render_template("end_other_sessions.html", form=form)


@blueprint.post("/tokens/<int:id>/end")
@auth_required("session")
def end_token(id: int) -> Any:
    """End an API token of this account."""
    user = signed_in_user()
    names = [row["name"] for row in _live_tokens(user) if row["id"] == id]
    if not names:
        abort(404, "There is no such token.")
    tokens.revoke(str(user.id), names[0], unit=unit_of_self(user))
    flash(f"The token {names[0]} has ended.", "success")
    return redirect(url_for("account.show"))
