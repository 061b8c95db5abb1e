"""Create the series, windows, traces and saved measurements of profiling."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "ops_profile_series",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("caller", sa.Text(), nullable=False),
        sa.Column("statement", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_profile_series"),
        sa.UniqueConstraint("digest", name="uq_ops_profile_series_digest"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_profile_series_kind", "ops_profile_series", ["kind"])
    op.create_table(
        "ops_profile_windows",
        sa.Column("series_id", sa.Integer(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("starts_at", sa.BigInteger(), nullable=False),
        sa.Column("process", sa.String(32), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("most", sa.Double(), nullable=False),
        sa.Column("queries", sa.BigInteger(), nullable=False),
        sa.Column("query_seconds", sa.Double(), nullable=False),
        sa.Column("bins", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["series_id"], ["ops_profile_series.id"], name="fk_ops_profile_windows_series_id"
        ),
        sa.PrimaryKeyConstraint(
            "series_id", "width", "starts_at", "process", name="pk_ops_profile_windows"
        ),
    )
    op.create_index(
        "ix_ops_profile_windows_width_starts_at", "ops_profile_windows", ["width", "starts_at"]
    )
    op.create_table(
        "ops_profile_traces",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("status", sa.Integer()),
        sa.Column("queries", sa.Integer(), nullable=False),
        sa.Column("query_seconds", sa.Double(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_profile_traces"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_profile_traces_at", "ops_profile_traces", ["at"])
    op.create_index(
        "ix_ops_profile_traces_name_kind_seconds", "ops_profile_traces", ["name", "kind", "seconds"]
    )
    op.create_table(
        "ops_profile_saves",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("is_automatic", sa.Boolean(), nullable=False),
        sa.Column("mode", sa.String(16), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("python", sa.String(32), nullable=False),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("made_at", moment, nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_profile_saves"),
        sa.UniqueConstraint("name", name="uq_ops_profile_saves_name"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    for table in (
        "ops_profile_saves",
        "ops_profile_traces",
        "ops_profile_windows",
        "ops_profile_series",
    ):
        op.drop_table(table)
