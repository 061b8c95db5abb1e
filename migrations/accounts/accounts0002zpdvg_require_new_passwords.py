"""Require a new password at the next log-in."""

import sqlalchemy as sa
from alembic import op

revision = "accounts0002zpdvg"
down_revision = "accounts0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column(
        "must_change_password", sa.Boolean(), server_default=sa.false(), nullable=False
    )
    op.add_column("ops_users", column)


def downgrade() -> None:
    op.drop_column("ops_users", "must_change_password")
