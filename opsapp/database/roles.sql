-- Least privilege on PostgreSQL. Three roles use the database:
--
--   the owner      migrates: flask db init, flask db upgrade
--   opsapp_writer  is of OPSAPP_DATABASE_URL: pages, API, commands, jobs
--   opsapp_reader  is of OPSAPP_READONLY_DATABASE_URL: flask query, flask shell --read-only
--
-- Make the two with createuser. Run this file as the owner of the tables, after each migration:
--
--   psql --single-transaction --file roles.sql opsapp

REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO opsapp_writer, opsapp_reader;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO opsapp_reader;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO opsapp_writer;
-- pg_dump reads the sequences too.
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO opsapp_writer;

-- The chain grows and never changes; its one head moves.
REVOKE UPDATE, DELETE ON ops_audit_events FROM opsapp_writer;
REVOKE INSERT, DELETE ON ops_audit_head FROM opsapp_writer;
-- A name beside the chain is erased with its account, and never exchanged.
REVOKE UPDATE ON ops_audit_personal FROM opsapp_writer;
-- Accounts, roles and grants end; their rows stay.
REVOKE DELETE ON ops_users, ops_roles, ops_grants FROM opsapp_writer;
-- Only a migration moves the schema.
REVOKE INSERT, UPDATE, DELETE ON ops_alembic_version FROM opsapp_writer;
