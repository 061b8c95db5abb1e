"""The ``db``, models and tables of the application, which are its own where opsapp is attached."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ..extensions import Model, db, this_attachment
from . import accounts, reviews, sessions

_OF_ACCOUNTS = frozenset({accounts.__name__, reviews.__name__, sessions.__name__})


def application_db() -> Any:
    """Return the application's Flask-SQLAlchemy; that of opsapp if it has a session only."""
    attached = this_attachment()
    return db if attached is None or attached.db is None else attached.db


def application_models() -> list[type]:
    """Return every mapped class that has a table there, those of the application first.

    An application with its own accounts has none of ours.
    """
    attached = this_attachment()
    attached_models = [] if attached is None else attached.models
    return [*sorted(attached_models, key=_place), *sorted(_our_models(), key=_place)]


def application_tables() -> tuple[sa.Table, ...]:
    """Return the tables of the application and of opsapp, those without a model too."""
    attached = this_attachment()
    if attached is None:
        metadatas = list(db.metadatas.values())
        own_tables = []
    else:
        metadatas = list(dict.fromkeys(model.metadata for model in attached.models))
        own_tables = [sa.inspect(model).local_table for model in _our_models()]
    return (*(table for metadata in metadatas for table in metadata.tables.values()), *own_tables)


def is_model(value: Any) -> bool:
    """Return whether it is a mapped class, on whichever base."""
    return isinstance(value, type) and sa.inspect(value, raiseerr=False) is not None


def _our_models() -> list[Any]:
    models = [mapper.class_ for mapper in Model.registry.mappers]
    if this_attachment() is None:
        return models
    return [model for model in models if model.__module__ not in _OF_ACCOUNTS]


def _place(model: type) -> tuple[str, str]:
    return model.__module__, model.__name__
