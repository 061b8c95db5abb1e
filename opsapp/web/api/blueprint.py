"""flask-smorest's blueprint, whose parser takes every body for what it is: the client's."""

from __future__ import annotations

from typing import Any

import flask_smorest
from flask import abort
from marshmallow import RAISE
from webargs.flaskparser import FlaskParser


class Parser(FlaskParser):
    """webargs' parser, that no JSON can bring down, and no mistyped filter passes."""

    DEFAULT_UNKNOWN_BY_LOCATION: dict[str, str | None] = {  # noqa: RUF012  (webargs declares it so)
        **FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION,
        "query": RAISE,  # Else a filter that is none would list everybody.
    }

    def load_json(self, req: Any, schema: Any) -> Any:
        """The body; 400 where it is not JSON, or nested or long beyond what Python reads."""
        try:
            return super().load_json(req, schema)
        except (RecursionError, ValueError):
            abort(400, "The body is JSON that nobody writes.")


class Blueprint(flask_smorest.Blueprint):
    """A part of the API."""

    ARGUMENTS_PARSER = Parser()

    def arguments(self, schema: Any, **options: Any) -> Any:
        """flask-smorest's, with the schema made here and now: it would be made for each request."""
        return super().arguments(schema() if isinstance(schema, type) else schema, **options)
