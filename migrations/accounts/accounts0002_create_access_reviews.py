"""Create access reviews."""

import sqlalchemy as sa
from alembic import op

revision = "accounts0002"
down_revision = "accounts0001"
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ops_access_reviews",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("roles", sa.Text(), nullable=False),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("started_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("due_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("finished_by", sa.Text()),
        sa.PrimaryKeyConstraint("id", name="pk_ops_access_reviews"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ops_access_review_items",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("review_id", sa.Integer(), nullable=False),
        sa.Column("grant_id", sa.Integer(), nullable=False),
        sa.Column("last_seen_at", moment),
        sa.Column("decision", sa.String(16)),
        sa.Column("decided_at", moment),
        sa.Column("decided_by", sa.Text()),
        sa.Column("decision_reason", sa.Text()),
        sa.ForeignKeyConstraint(
            ["review_id"],
            ["ops_access_reviews.id"],
            name="fk_ops_access_review_items_review_id",
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["ops_grants.id"], name="fk_ops_access_review_items_grant_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_ops_access_review_items"),
        sa.UniqueConstraint(
            "review_id", "grant_id", name="uq_ops_access_review_items_review_id_grant_id"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_access_review_items_grant_id", "ops_access_review_items", ["grant_id"])


def downgrade() -> None:
    op.drop_table("ops_access_review_items")
    op.drop_table("ops_access_reviews")
