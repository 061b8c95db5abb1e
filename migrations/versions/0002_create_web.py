"""Create sessions, API tokens, log-ins and mail."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

moment = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.add_column("ops_users", sa.Column("tf_last_counter", sa.BigInteger()))
    op.add_column("ops_users", sa.Column("failed_at", moment))
    op.create_table(
        "ops_user_sessions",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("uniquifier", sa.String(64), nullable=False),
        sa.Column("opened_at", moment, nullable=False),
        sa.Column("seen_at", moment, nullable=False),
        sa.Column("expires_at", moment, nullable=False),
        sa.Column("ended_at", moment),
        sa.Column("ip", sa.String(64)),
        sa.Column("user_agent", sa.String(200)),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name="fk_ops_user_sessions_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_user_sessions"),
        sa.UniqueConstraint("key", name="uq_ops_user_sessions_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_user_sessions_user_id_id", "ops_user_sessions", ["user_id", "id"])
    op.create_index("ix_ops_user_sessions_opened_at", "ops_user_sessions", ["opened_at"])
    op.create_table(
        "ops_api_tokens",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("uniquifier", sa.String(64), nullable=False),
        sa.Column("permissions", sa.Text()),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        sa.Column("valid_until", moment, nullable=False),
        sa.Column("used_at", moment),
        sa.Column("ended_at", moment),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name="fk_ops_api_tokens_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_api_tokens"),
        sa.UniqueConstraint("key", name="uq_ops_api_tokens_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_api_tokens_user_id", "ops_api_tokens", ["user_id"])
    op.create_index(
        "uq_ops_api_tokens_open",
        "ops_api_tokens",
        ["user_id", "name"],
        unique=True,
        **only("ended_at IS NULL"),
    )
    op.create_table(
        "ops_logins",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", moment, nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("ip", sa.String(64)),
        sa.Column("network", sa.String(64)),
        sa.Column("user_agent", sa.String(200)),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name="fk_ops_logins_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_logins"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_logins_at", "ops_logins", ["at"])
    op.create_index("ix_ops_logins_user_id_id", "ops_logins", ["user_id", "id"])
    op.create_index("ix_ops_logins_identity_at", "ops_logins", ["identity", "at"])
    op.create_index("ix_ops_logins_network_at", "ops_logins", ["network", "at"])
    op.create_table(
        "ops_mail_messages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("recipient", sa.String(320), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", moment, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_at", moment),
        sa.Column("sent_at", moment),
        sa.Column("error", sa.String(255)),
        sa.ForeignKeyConstraint(["user_id"], ["ops_users.id"], name="fk_ops_mail_messages_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_ops_mail_messages"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_ops_mail_messages_user_id", "ops_mail_messages", ["user_id"])
    op.create_index(
        "ix_ops_mail_messages_next_at",
        "ops_mail_messages",
        ["next_at"],
        **only("next_at IS NOT NULL"),
    )


def only(condition: str) -> dict[str, sa.TextClause]:
    """Return the options of an index over the rows that meet the condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def downgrade() -> None:
    for table in ("ops_mail_messages", "ops_logins", "ops_api_tokens", "ops_user_sessions"):
        op.drop_table(table)
    for column in ("failed_at", "tf_last_counter"):
        op.drop_column("ops_users", column)
