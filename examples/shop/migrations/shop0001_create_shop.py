"""Create posts, products and orders."""

import sqlalchemy as sa
from alembic import op

revision = "shop0001"
down_revision = None
branch_labels = ("shop",)
depends_on = None


def upgrade() -> None:
    op.create_table(
        "shop_products",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
        sa.Column("stock", sa.Integer(), nullable=False),
        sa.CheckConstraint("stock >= 0", name=op.f("ck_shop_products_stock")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop_products")),
        sa.UniqueConstraint("name", name=op.f("uq_shop_products_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "shop_orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Integer(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.Column("cents", sa.Integer(), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["product_id"], ["shop_products.id"], name=op.f("fk_shop_orders_product_id")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name=op.f("fk_shop_orders_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop_orders")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("shop_orders", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_shop_orders_product_id"), ["product_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_shop_orders_user_id"), ["user_id"], unique=False)

    op.create_table(
        "shop_posts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("author_id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=200), nullable=False),
        sa.Column("written_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["author_id"], ["ops_users.id"], name=op.f("fk_shop_posts_author_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shop_posts")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("shop_posts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_shop_posts_author_id"), ["author_id"], unique=False)


def downgrade() -> None:
    with op.batch_alter_table("shop_posts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shop_posts_author_id"))

    op.drop_table("shop_posts")
    with op.batch_alter_table("shop_orders", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_shop_orders_user_id"))
        batch_op.drop_index(batch_op.f("ix_shop_orders_product_id"))

    op.drop_table("shop_orders")
    op.drop_table("shop_products")
