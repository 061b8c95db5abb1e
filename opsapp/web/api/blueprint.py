"""flask-smorest's blueprint, with a parser that withstands hostile bodies."""

from __future__ import annotations

import json
from functools import wraps
from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import abort, request
from marshmallow import RAISE, Schema, ValidationError
from webargs.core import missing
from webargs.flaskparser import FlaskParser

from ..actor import REASON


class Parser(FlaskParser):
    """webargs' parser, made safe against deep JSON and mistyped filters."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012  (webargs declares it so)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,  # Otherwise a mistyped filter would list every account.
    }

    def load_json(self, req: Any, schema: Any) -> Any:
        """Return the body, or abort with 400 where Python cannot read it as JSON."""
        if req.content_length and req.mimetype != "application/json":
            abort(415, "Send JSON, with the header Content-Type: application/json.")
        try:
            return super().load_json(req, schema)
        except (RecursionError, ValueError):
            abort(400, "The body is not JSON, or is nested too deeply.")

    def _raw_load_json(self, req: Any) -> Any:
        """Read the body; a key that comes twice is refused, since one value would be lost."""
        body = req.get_data(cache=True)
        if not body:
            return missing
        value = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_refuse)
        if not isinstance(value, dict):
            abort(422, "The body is not an object.")
        return value

    def load_querystring(self, req: Any, schema: Any) -> Any:
        """Return the filters; a repeated filter is refused, since one value would be lost."""
        repeated = [name for name, values in req.args.lists() if len(values) > 1]
        if repeated:
            raise ValidationError({name: ["Given more than once."] for name in repeated})
        return super().load_querystring(req, schema)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        abort(400, "A key of the body comes twice.")
    return values


def _refuse(constant: str) -> Any:
    """Refuse NaN and Infinity, which Python reads and JSON does not have."""
    raise ValueError(constant)


WHY = {
    "name": REASON,
    "in": "header",
    "description": "The reason, for the audit log.",
    "schema": {"type": "string", "maxLength": 500},
}
NO_FIELDS = Schema()
ERRORS = (401, 403, 404, 414, 429, 503, 504)
ERRORS_OF_CHANGES = (400, 409, 411, 413, 415, 422)


class Blueprint(flask_smorest.Blueprint):
    """A part of the API, with its errors documented."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks.append(self._document_errors)

    @staticmethod
    def _document_errors(
        doc: dict[str, Any], info: dict[str, Any], *, method: str, **_others: Any
    ) -> dict[str, Any]:
        """Document each error by its status, instead of a default."""
        errors = ERRORS if method == "get" else ERRORS + ERRORS_OF_CHANGES
        if info.get("arguments"):
            errors = (*errors, 422)
        responses = doc.setdefault("responses", {})
        for status in errors:
            responses.setdefault(str(status), HTTPStatus(status).name)
        return doc

    def operation(self, id: str, **doc: Any) -> Any:
        """Document the name by which generated clients call the view."""
        return self.doc(operationId=id, **doc)

    def takes_no_body(self, view: Any) -> Any:
        """Refuse a body with fields, and what is not JSON, as the views with a body do."""

        @wraps(view)
        def checked_view(*args: Any, **kwargs: Any) -> Any:
            self.ARGUMENTS_PARSER.parse(NO_FIELDS, request, location="json")
            return view(*args, **kwargs)

        return checked_view

    def arguments(self, schema: Any, **options: Any) -> Any:
        """Call flask-smorest's with an instance, or it would make one for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)
