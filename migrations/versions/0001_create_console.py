"""Create accounts, roles, grants and the audit."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)


def name(length: int) -> sa.types.TypeEngine[str]:
    """Return a string that PostgreSQL compares byte by byte, as SQLite does."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "ops_users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", name(320)),
        sa.Column("username", name(320)),
        sa.Column("password", sa.String(255)),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("fs_uniquifier", sa.String(64), nullable=False),
        sa.Column("confirmed_at", moment),
        sa.Column("last_login_at", moment),
        sa.Column("current_login_at", moment),
        sa.Column("last_login_ip", sa.String(64)),
        sa.Column("current_login_ip", sa.String(64)),
        sa.Column("login_count", sa.Integer(), nullable=False),
        sa.Column("tf_primary_method", sa.String(64)),
        sa.Column("tf_totp_secret", sa.String(255)),
        sa.Column("tf_phone_number", sa.String(128)),
        sa.Column("mf_recovery_codes", sa.Text()),
        sa.Column("failed_logins", sa.Integer(), nullable=False),
        sa.Column("locked_until", moment),
        sa.Column("sessions_ended_at", moment),
        sa.Column("idle_since", moment, nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("updated_at", moment, nullable=False),
        sa.Column("deleted_at", moment),
        sa.Column("erased_as", sa.String(64)),
        sa.PrimaryKeyConstraint("id", name="pk_ops_users"),
        sa.UniqueConstraint("email", name="uq_ops_users_email"),
        sa.UniqueConstraint("username", name="uq_ops_users_username"),
        sa.UniqueConstraint("fs_uniquifier", name="uq_ops_users_fs_uniquifier"),
        # Ids are never used twice: a new account must not inherit an old one's grants.
        sqlite_autoincrement=True,
    )
    for column in ("created_at", "idle_since"):
        op.create_index(
            f"ix_ops_users_{column}_id", "ops_users", [column, "id"], **only("deleted_at IS NULL")
        )
    op.create_index("ix_ops_users_erased_as", "ops_users", ["erased_as"])
    op.create_table(
        "ops_roles",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", name(64), nullable=False),
        sa.Column("description", sa.String(255), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("builtin", sa.Boolean(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("deleted_at", moment),
        sa.PrimaryKeyConstraint("id", name="pk_ops_roles"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_ops_roles_name_live", "ops_roles", ["name"], unique=True, **only("deleted_at IS NULL")
    )
    op.create_table(
        "ops_grants",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("granted_at", moment, nullable=False),
        sa.Column("granted_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("valid_until", moment),
        sa.Column("ended_at", moment),
        sa.Column("ended_how", sa.String(16)),
        sa.Column("ended_by", sa.Text()),
        sa.Column("end_reason", sa.Text()),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name="fk_ops_grants_user_id"),
        sa.ForeignKeyConstraint(["role_id"], ["ops_roles.id"], name="fk_ops_grants_role_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_grants"),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "uq_ops_grants_open",
        "ops_grants",
        ["user_id", "role_id"],
        unique=True,
        **only("ended_at IS NULL"),
    )
    op.create_index("ix_ops_grants_role_id_user_id", "ops_grants", ["role_id", "user_id"])
    op.create_index(
        "ix_ops_grants_valid_until",
        "ops_grants",
        ["valid_until"],
        **only("ended_at IS NULL AND valid_until IS NOT NULL"),
    )
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
    op.create_table(
        "ops_audit_personal",
        sa.Column("token", sa.String(32), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("salt", sa.String(32), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["ops_users.id"], name="fk_ops_audit_personal_user_id"
        ),
        sa.PrimaryKeyConstraint("token", name="pk_ops_audit_personal"),
    )
    op.create_index("ix_ops_audit_personal_user_id", "ops_audit_personal", ["user_id"])
    make_append_only(op.get_bind().dialect.name)


def only(condition: str) -> dict[str, sa.TextClause]:
    """Return the options of an index over the rows that meet the condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def make_append_only(dialect: str) -> None:
    """Refuse accidents in the database itself; its owner can drop a trigger, the chain tells."""
    if dialect == "postgresql":
        op.execute(
            "CREATE FUNCTION ops_audit_events_refuse() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN RAISE EXCEPTION 'audit events are append-only'; END$$"
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


def downgrade() -> None:
    for table in (
        "ops_audit_personal",
        "ops_audit_events",
        "ops_audit_head",
        "ops_grants",
        "ops_roles",
        "ops_users",
    ):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION ops_audit_events_refuse()")
