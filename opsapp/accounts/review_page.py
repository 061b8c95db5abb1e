"""The page of an access review: one file, which prints on paper."""

from __future__ import annotations

from datetime import UTC, datetime

from .. import clock, settings, text
from ..extensions import db
from ..files.drafts import writing
from ..types import Record
from ..unit.ledger import read_head
from . import reviews

WIDTHS = (13, 6, 3.5, 7, 7, 9, 7, 7, 7, 7, 7, 7, 7, 5.5)
"""Percent of the table, of each column."""


def write(file: str, id: int) -> Record:
    """Write the page of a review, readable by its owner only; return its file and size.

    It names the last event of the audit, so that it can be compared with the chain.

    :raises NotFound: there is no such review.
    :raises Refused: the name is that of a folder or a device.
    """
    from jinja2 import Environment, PackageLoader

    pages = Environment(
        loader=PackageLoader("opsapp.accounts"), autoescape=True, finalize=text.safe_value
    )
    pages.globals.update(at=_at, day=_day)
    head = read_head(db.session())
    page = pages.get_template("review.html").render(
        app_name=settings.get("OPSAPP_NAME"),
        environment=settings.get("OPSAPP_ENV"),
        review=reviews.record(reviews.get(id)),
        items=reviews.items(id),
        widths=WIDTHS,
        made_at=_at(clock.now()),
        seq=head.seq if head else 0,
        hash=head.hash if head else "",
    )
    with writing(file) as draft:
        size = draft.path.write_bytes(page.encode(errors="backslashreplace"))
    return {"file": file, "bytes": size}


def _at(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}"


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}" if moment else ""
