"""Pages of lists: the address of the next one."""

from __future__ import annotations

from flask import request, url_for

from ...types import Record


def next_page(rows: list[Record], limit: int, key: str = "id") -> str | None:
    """Return the address of the next page, or None on the last one.

    :param rows: those of this page, and one more if there is a next page.
    :param key: the field by which a page begins after the page before.
    """
    if len(rows) <= limit or request.endpoint is None:
        return None
    values = {**(request.view_args or {}), **request.args, "after": rows[limit - 1][key]}
    return url_for(request.endpoint, **values)
