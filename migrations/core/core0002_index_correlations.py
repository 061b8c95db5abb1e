"""Index the correlations of the audit's events."""

from alembic import op

revision = "core0002"
down_revision = "core0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_ops_audit_events_correlation", "ops_audit_events", ["correlation"])


def downgrade() -> None:
    op.drop_index("ix_ops_audit_events_correlation", "ops_audit_events")
