"""Create the history of jobs and their output."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)


def name(length: int) -> sa.types.TypeEngine[str]:
    """Return a string that PostgreSQL compares byte by byte, as SQLite does."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ops_job_runs",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", name(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("slot", moment),
        sa.Column("started_at", moment, nullable=False),
        sa.Column("finished_at", moment),
        sa.Column("seconds", sa.Float()),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("peak_bytes", sa.BigInteger()),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(255)),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("correlation", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_job_runs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_job_runs_name_id", "ops_job_runs", ["name", "id"])
    op.create_index("ix_ops_job_runs_started_at", "ops_job_runs", ["started_at"])
    op.create_index("ix_ops_job_runs_open", "ops_job_runs", ["name"], **only("finished_at IS NULL"))
    # Several hosts serve one schedule: who writes a slot's row first runs it.
    op.create_index(
        "uq_ops_job_runs_name_slot",
        "ops_job_runs",
        ["name", "slot"],
        unique=True,
        **only("slot IS NOT NULL"),
    )
    op.create_table(
        "ops_job_output",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("stream", sa.String(8), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["ops_job_runs.id"], name="fk_ops_job_output_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_job_output"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_job_output_run_id_id", "ops_job_output", ["run_id", "id"])


def only(condition: str) -> dict[str, sa.TextClause]:
    """Return the options of an index over the rows that meet the condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def downgrade() -> None:
    for table in ("ops_job_output", "ops_job_runs"):
        op.drop_table(table)
