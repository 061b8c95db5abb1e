"""Rows removed by what they have in common, without being read."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from ..extensions import Model


def remove(
    session: so.Session,
    model: type[Model],
    *criteria: sa.ColumnElement[bool],
    dry_run: bool = False,
) -> int:
    """Remove the rows that meet every criterion; how many there were.

    Objects of them that the session holds stay as they are.

    :param dry_run: only count them.
    """
    if dry_run:
        count = sa.select(sa.func.count()).select_from(model).where(*criteria)
        return session.scalar(count) or 0
    result: Any = session.execute(
        sa.delete(model).where(*criteria), execution_options={"synchronize_session": False}
    )
    return int(result.rowcount)
