"""Database: set up, migrate, inspect and back up. See docs/decisions/database.md.

- ``setup``: ``flask db init``
- ``environment``: which migrations Alembic is given
- ``migration_run``: the lock, the gate and the audit event around each migration
- ``lineage``: refuses migrations that are not one line
- ``status``: the revision, the sizes, and the obstacles to being ready
- ``backups``: a copy of the whole database as a file
"""
