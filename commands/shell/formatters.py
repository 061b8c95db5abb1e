"""Formatters: values at the prompt, by IPython's printer; tables for those with columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so
from werkzeug.routing import Map

from opsapp.cli.tables import drawn
from opsapp.console.namespace import Answer, Answers
from opsapp.console.web_client import routes_of
from opsapp.extensions import Model, this_app
from opsapp.redaction import veiled
from opsapp.state import has_pages

from . import display
from .display import Rows


def teach(formatter: Any) -> None:
    """Teach IPython's plain-text formatter to show values like this."""
    as_list, as_dictionary = formatter.for_type(list), formatter.for_type(dict)
    for kind, draw in _DRAWN.items():
        formatter.for_type(kind, _printer(draw))

    def as_veiled(value: Any, *to: Any) -> None:
        as_dictionary(veiled("", dict(value)), *to)

    formatter.for_type(str, lambda it, printer, _cycle: printer.text(display.text_of(it)))
    formatter.for_type(dict, as_veiled)
    formatter.for_type(Answer, _printer(_answer, otherwise=as_veiled))
    formatter.for_type(list, _printer(display.list_table, otherwise=as_list))
    formatter.for_type(type(Model), _printer(display.columns_table))
    formatter.for_type(Map, _printer(_routes))
    for kind in (Rows, Answers):
        formatter.for_type(
            kind, _printer(display.table, otherwise=lambda it, *to: as_list(list(it), *to))
        )


def _printer(
    draw: Callable[[Any], str | None], otherwise: Callable[..., None] | None = None
) -> Callable[..., None]:
    def show(value: Any, printer: Any, cycle: bool) -> None:
        # Inside of another value a table would tear its lines.
        is_outermost = len(printer.stack) <= 1
        drawing = draw(value) if is_outermost and not cycle else None
        if drawing is not None:
            printer.text(drawing)
        elif otherwise is not None:
            otherwise(value, printer, cycle)
        else:
            printer.text(display.named(value))

    return show


def _routes(_rules: Map) -> str:
    """Return the routes; without pages the application has few of them."""
    hint = "" if has_pages(this_app()) else "\nWithout pages and API: flask shell --web has them."
    return f"{display.table(routes_of(this_app()))}{hint}"


def _answer(record: Answer) -> str | None:
    """Return a record of a service as a small table; None for an empty one."""
    cells = {name: display.cell(name, value) for name, value in record.items()}
    return drawn(cells).rstrip() if cells else None


_DRAWN: dict[Any, Callable[[Any], str | None]] = {
    Model: display.model_table,
    sa.Select: display.select_table,
    sa.CompoundSelect: display.select_table,
    so.Query: display.query_table,
    sa.Result: display.result_table,
    sa.ScalarResult: display.result_table,
}
