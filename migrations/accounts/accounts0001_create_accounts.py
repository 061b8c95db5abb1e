"""Create accounts, roles, grants, reviews, sessions, API tokens and logins."""

import sqlalchemy as sa
from alembic import op

revision = "accounts0001"
down_revision = None
branch_labels = ("accounts",)
depends_on = None

moment = sa.DateTime(timezone=True)
TABLES = (
    "ops_users",
    "ops_roles",
    "ops_grants",
    "ops_access_reviews",
    "ops_access_review_items",
    "ops_user_sessions",
    "ops_api_tokens",
    "ops_logins",
    "ops_login_failures",
)


def name(length: int) -> sa.types.TypeEngine[str]:
    """Return a string that PostgreSQL compares byte by byte, as SQLite does."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def only(condition: str) -> dict[str, sa.TextClause]:
    """Return the options of an index over the rows that meet the condition."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    create_users()
    create_roles()
    create_grants()
    create_reviews()
    create_sessions()
    create_tokens()
    create_logins()
    create_login_failures()


def create_users() -> None:
    op.create_table(
        "ops_users",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("email", name(320)),
        sa.Column("username", name(320)),
        sa.Column("password", sa.String(255)),
        sa.Column("must_change_password", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("fs_uniquifier", sa.String(64), nullable=False),
        sa.Column("confirmed_at", moment),
        sa.Column("login_count", sa.Integer(), nullable=False),
        sa.Column("last_login_at", moment),
        sa.Column("tf_primary_method", sa.String(64)),
        sa.Column("tf_totp_secret", sa.String(255)),
        sa.Column("tf_phone_number", sa.String(128)),
        sa.Column("mf_recovery_codes", sa.Text()),
        sa.Column("tf_last_counter", sa.BigInteger()),
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
        index = f"ix_ops_users_{column}_id"
        op.create_index(index, "ops_users", [column, "id"], **only("deleted_at IS NULL"))
    op.create_index("ix_ops_users_erased_as", "ops_users", ["erased_as"])


def create_roles() -> None:
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


def create_grants() -> None:
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
    is_open = only("ended_at IS NULL")
    op.create_index(
        "uq_ops_grants_open", "ops_grants", ["user_id", "role_id"], unique=True, **is_open
    )
    op.create_index("ix_ops_grants_role_id_user_id", "ops_grants", ["role_id", "user_id"])
    op.create_index(
        "ix_ops_grants_valid_until",
        "ops_grants",
        ["valid_until"],
        **only("ended_at IS NULL AND valid_until IS NOT NULL"),
    )


def create_reviews() -> None:
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
        sa.Column("last_login_at", moment),
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


def create_sessions() -> None:
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


def create_tokens() -> None:
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
    is_open = only("ended_at IS NULL")
    op.create_index(
        "uq_ops_api_tokens_open", "ops_api_tokens", ["user_id", "name"], unique=True, **is_open
    )


def create_logins() -> None:
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
    op.create_index("ix_ops_logins_network_at", "ops_logins", ["network", "at"])


def create_login_failures() -> None:
    op.create_table(
        "ops_login_failures",
        sa.Column("key", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("browser", sa.String(64)),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.Column("failed_at", moment, nullable=False),
        sa.Column("locked_until", moment),
        sa.ForeignKeyConstraint(
            ["user_id"], ["ops_users.id"], name="fk_ops_login_failures_user_id"
        ),
        sa.PrimaryKeyConstraint("key", name="pk_ops_login_failures"),
    )
    op.create_index("ix_ops_login_failures_user_id", "ops_login_failures", ["user_id"])
    op.create_index("ix_ops_login_failures_failed_at", "ops_login_failures", ["failed_at"])


def downgrade() -> None:
    for table in reversed(TABLES):
        op.drop_table(table)
