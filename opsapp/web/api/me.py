"""``/api/me``: the caller's account and permissions."""

from __future__ import annotations

from flask import Response, jsonify
from flask.views import MethodView
from flask_wtf.csrf import generate_csrf

from ...accounts import authority
from ...accounts.records import user_record
from .access import SIGNED_IN, caller
from .blueprint import Blueprint
from .schemas import MeAnswer

blueprint = Blueprint("me", __name__, url_prefix="/api/me", description="Yourself.")


@blueprint.route("")
class Me(MethodView):
    """The caller."""

    @blueprint.response(200, MeAnswer)
    @blueprint.operation("get_me", security=SIGNED_IN)
    def get(self) -> Response:
        """Show who you are to the API.

        Needs no permission.
        """
        me = caller()
        return jsonify(
            user=user_record(me.user),
            permissions=authority.permission_names(authority.permissions_now(me.powers)),
            token=me.token.name if me.token else None,
            csrf_token=None if me.token else generate_csrf(),
        )
