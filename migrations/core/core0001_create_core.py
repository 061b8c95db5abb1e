"""Create the audit log, the outbox, the history of jobs, profiles and the ends of roles.

No table here refers to an account by a key: an application may keep its accounts itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "core0001"
down_revision = None
branch_labels = ("core",)
depends_on = None

moment = sa.DateTime(timezone=True)
TABLES = (
    "ops_audit_head",
    "ops_audit_events",
    "ops_audit_pending",
    "ops_audit_personal",
    "ops_role_ends",
    "ops_mail_messages",
    "ops_job_runs",
    "ops_job_output",
    "ops_profile_series",
    "ops_profile_windows",
    "ops_profile_traces",
    "ops_profile_saves",
)


def name(length: int) -> sa.types.TypeEngine[str]:
    """Return a string that PostgreSQL compares byte by byte, as SQLite does."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def only(condition: str) -> dict[str, sa.TextClause]:
    """Return the options of an index over the rows that meet the condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    create_chain()
    create_beside_the_chain()
    create_mail()
    create_jobs()
    create_series()
    create_traces()
    make_append_only(op.get_bind().dialect.name)


def create_chain() -> None:
    op.create_table(
        "ops_audit_head",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("chain", sa.String(36), nullable=False),
        sa.Column("environment", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(16), nullable=False),
        sa.Column("pepper_id", sa.String(16), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_audit_head"),
    )
    op.create_table(
        "ops_audit_events",
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("door", sa.String(16), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("correlation", sa.String(36), nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_ops_audit_events"),
    )
    op.create_index("ix_ops_audit_events_at", "ops_audit_events", ["at"])
    op.create_index("ix_ops_audit_events_subject_seq", "ops_audit_events", ["subject", "seq"])
    op.create_index("ix_ops_audit_events_action_seq", "ops_audit_events", ["action", "seq"])
    op.create_index("ix_ops_audit_events_correlation", "ops_audit_events", ["correlation"])


def create_beside_the_chain() -> None:
    op.create_table(
        "ops_audit_pending",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("door", sa.String(16), nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("before", sa.Text()),
        sa.Column("after", sa.Text()),
        sa.Column("correlation", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_audit_pending"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "ops_audit_personal",
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("token", name="pk_ops_audit_personal"),
    )
    op.create_index("ix_ops_audit_personal_subject", "ops_audit_personal", ["subject"])
    op.create_table(
        "ops_role_ends",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("subject", sa.String(64), nullable=False),
        sa.Column("role", sa.String(255), nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("valid_until", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ops_role_ends"),
        sa.UniqueConstraint("subject", "role", name="uq_ops_role_ends_subject_role"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_role_ends_valid_until", "ops_role_ends", ["valid_until"])


def make_append_only(dialect: str) -> None:
    """Refuse accidents in the database itself; its owner can drop a trigger, the chain tells."""
    if dialect == "postgresql":
        op.execute(
            # It is there already where the tables were dropped by hand.
            "CREATE OR REPLACE FUNCTION ops_audit_events_refuse() RETURNS trigger"
            " LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'audit events are append-only'; END$$"
        )
        op.execute(
            "CREATE TRIGGER ops_audit_events_append_only"
            " BEFORE UPDATE OR DELETE OR TRUNCATE ON ops_audit_events"
            " FOR EACH STATEMENT EXECUTE FUNCTION ops_audit_events_refuse()"
        )
        return
    for verb in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER ops_audit_events_no_{verb.lower()} BEFORE {verb} ON ops_audit_events"
            " BEGIN SELECT RAISE(ABORT, 'audit events are append-only'); END"
        )


def create_mail() -> None:
    op.create_table(
        "ops_mail_messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("about", sa.String(64)),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", moment),
        sa.Column("sent_at", moment),
        sa.Column("error", sa.String(255)),
        sa.PrimaryKeyConstraint("id", name="pk_ops_mail_messages"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_mail_messages_about", "ops_mail_messages", ["about"])
    op.create_index(
        "ix_ops_mail_messages_next_at",
        "ops_mail_messages",
        ["next_at"],
        **only("next_at IS NOT NULL"),
    )


def create_jobs() -> None:
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
    index_jobs()
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


def index_jobs() -> None:
    op.create_index("ix_ops_job_runs_name_id", "ops_job_runs", ["name", "id"])
    op.create_index("ix_ops_job_runs_started_at", "ops_job_runs", ["started_at"])
    op.create_index("ix_ops_job_runs_open", "ops_job_runs", ["name"], **only("finished_at IS NULL"))
    # Several hosts serve one schedule: the first to write a slot's row runs it.
    op.create_index(
        "uq_ops_job_runs_name_slot",
        "ops_job_runs",
        ["name", "slot"],
        unique=True,
        **only("slot IS NOT NULL"),
    )


def create_series() -> None:
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


def create_traces() -> None:
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
    for table in reversed(TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ops_audit_events_refuse()")
