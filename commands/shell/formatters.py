"""Formatters: values at the prompt, by IPython's printer; tables for those with columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from IPython.core.formatters import PlainTextFormatter
from sqlalchemy import orm as so
from werkzeug.routing import Map

from opsapp.cli.tables import draw_table
from opsapp.console.namespace import Answer, Answers
from opsapp.console.web_client import routes_of
from opsapp.extensions import this_app
from opsapp.models.application import is_model
from opsapp.state import has_pages, is_built_on

from . import display
from .display import Rows
from .hidden import hide_secrets


class Hiding(PlainTextFormatter):
    """IPython's formatter, which shows containers without their secrets."""

    def __call__(self, value: Any) -> str | None:
        """Return the text of a value."""
        text: str | None = super().__call__(hide_secrets(value))
        return text


class Printers(dict[Any, Any]):
    """IPython's printers by type, in which every mapped class has one, on whichever base."""

    def __contains__(self, kind: Any) -> bool:
        return super().__contains__(kind) or is_model(kind)

    def __missing__(self, _kind: Any) -> Callable[..., None]:
        return _printer(display.model_table)


def teach(formatter: Any) -> None:
    """Teach IPython's plain-text formatter to show values like this."""
    formatter.__class__ = Hiding
    formatter.type_printers = Printers(formatter.type_printers)
    as_list, as_dictionary, as_type = map(formatter.for_type, (list, dict, type))
    for kind, draw in _DRAWN.items():
        formatter.for_type(kind, _printer(draw))

    formatter.for_type(str, lambda it, printer, _cycle: printer.text(display.text_of(it)))
    formatter.for_type(
        Answer, _printer(_answer, otherwise=lambda it, *to: as_dictionary(dict(it), *to))
    )
    formatter.for_type(list, _printer(display.list_table, otherwise=as_list))
    formatter.for_type(type, _printer(display.columns_table, otherwise=as_type))
    formatter.for_type(Map, _printer(_routes))
    for kind in (Rows, Answers):
        formatter.for_type(
            kind,
            _printer(display.table, otherwise=lambda it, *to: as_list(hide_secrets(list(it)), *to)),
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
            printer.text(display.short_repr(value))

    return show


def _routes(_rules: Map) -> str:
    """Return the routes; without pages the application has few of them."""
    app = this_app()
    is_without = is_built_on(app) and not has_pages(app)
    hint = "\nWithout pages and API: flask shell --web has them." if is_without else ""
    return f"{display.table(routes_of(app))}{hint}"


def _answer(record: Answer) -> str | None:
    """Return a record of a service as a small table; None for an empty one."""
    cells = {name: display.cell(name, value) for name, value in record.items()}
    return draw_table(cells).rstrip() if cells else None


_DRAWN: dict[Any, Callable[[Any], str | None]] = {
    sa.Select: display.select_table,
    sa.CompoundSelect: display.select_table,
    so.Query: display.query_table,
    sa.Result: display.result_table,
    sa.ScalarResult: display.result_table,
}
