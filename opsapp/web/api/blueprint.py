"""flask-smorest's blueprint, whose parser takes every body for what it is: the client's."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import flask_smorest
from flask import abort
from marshmallow import RAISE, ValidationError
from webargs.flaskparser import FlaskParser

from ..actor import REASON


class Parser(FlaskParser):
    """webargs' parser, that no JSON can bring down, and no mistyped filter passes."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012  (webargs declares it so)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,  # Else a filter that is none would list everybody.
    }

    def load_json(self, req: Any, schema: Any) -> Any:
        """The body; 400 where it is not JSON, or nested or long beyond what Python reads."""
        if req.content_length and not req.is_json:
            abort(415, "Send JSON, with the header Content-Type: application/json.")
        try:
            return super().load_json(req, schema)
        except (RecursionError, ValueError):
            abort(400, "The body is JSON that nobody writes.")

    def load_querystring(self, req: Any, schema: Any) -> Any:
        """The filters; none may be given twice, since all must hold and one would be lost."""
        twice = [name for name, values in req.args.lists() if len(values) > 1]
        if twice:
            raise ValidationError({name: ["Given more than once."] for name in twice})
        return super().load_querystring(req, schema)


WHY = {
    "name": REASON,
    "in": "header",
    "description": "Why; the audit keeps it.",
    "schema": {"type": "string", "maxLength": 500},
}
ERRORS = (401, 403, 404, 422, 429, 503, 504)
ERRORS_OF_CHANGES = (400, 409, 411, 413, 415)


class Blueprint(flask_smorest.Blueprint):
    """A part of the API."""

    ARGUMENTS_PARSER = Parser()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._prepare_doc_cbks.append(self._document_errors)

    @staticmethod
    def _document_errors(
        doc: dict[str, Any], _info: dict[str, Any], *, method: str, **_others: Any
    ) -> dict[str, Any]:
        """Name each error: a default would leave open what there is to expect."""
        errors = ERRORS if method == "get" else ERRORS + ERRORS_OF_CHANGES
        responses = doc.setdefault("responses", {})
        for status in errors:
            responses.setdefault(str(status), HTTPStatus(status).name)
        return doc

    def arguments(self, schema: Any, **options: Any) -> Any:
        """flask-smorest's, with the schema made here and now: it would be made for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)
