"""The shop's tables: posts, products and orders."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import orm as so

from opsapp import clock
from opsapp.models import Model, User, UTCDateTime
from opsapp.unit import guard_table

MIGRATIONS = Path(__file__).parent / "migrations"


class Post(Model):
    """A post on the shop's blog."""

    __tablename__ = "shop_posts"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    author_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_users.id"), index=True)
    title: so.Mapped[str] = so.mapped_column(sa.String(200))
    written_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)

    author: so.Mapped[User] = so.relationship()


@guard_table
class Product(Model):
    """A product; changed by :mod:`.products` and :mod:`.orders` only."""

    __tablename__ = "shop_products"
    __table_args__ = (
        sa.CheckConstraint("stock >= 0", name="stock"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    name: so.Mapped[str] = so.mapped_column(sa.String(64), unique=True)
    cents: so.Mapped[int]
    """The price of a piece."""
    stock: so.Mapped[int]


@guard_table
class Order(Model):
    """An order of an account, at the price of that time."""

    __tablename__ = "shop_orders"
    __table_args__ = ({"sqlite_autoincrement": True},)

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("ops_users.id"), index=True)
    product_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("shop_products.id"), index=True)
    quantity: so.Mapped[int]
    cents: so.Mapped[int]
    """The price of all pieces."""
    placed_at: so.Mapped[datetime] = so.mapped_column(UTCDateTime, default=clock.now)

    user: so.Mapped[User] = so.relationship()
    product: so.Mapped[Product] = so.relationship()
