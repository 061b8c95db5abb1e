"""Database: set up, migrate, inspect and back up. See docs/decisions/database.md.

- ``setup``: ``flask db init``
- ``environment``: which migrations Alembic is given
- ``migration_run``: the lock, the gate and the audit event around each migration
- ``lineage``: refuses migrations that are not one line
- ``status``: the revision, the sizes, and the obstacles to being ready
- ``plan``: the migrations that would run, and the rows that they would drop
- ``backups``: a copy of the whole database as a file
- ``dumps``: copies of PostgreSQL, read without a server
- ``restoring``: a copy put in its place
- ``recovery``: a restore with its audit: a copy examined, and the gap declared
- ``copying``: every row moved to another server
- ``attached``, ``removal``: migrations of an attached application, and our tables out of it
"""

__all__: list[str] = []
