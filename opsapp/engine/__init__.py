"""Engine: connections to SQLite and PostgreSQL. See docs/decisions/core.md.

- ``connections``: opened durable, bounded and named
- ``handles``: the connections to SQLite of a process, closed together after a lock that stays
- ``direct``, ``pooler``: sessions around a pooler, and poolers recognised
- ``conditions``: errors of the database as errors of opsapp
- ``locks``, ``flock``: locks that end with their process
- ``holders``: the processes that hold them
- ``fingerprint``: SQL without its literals
- ``plans``: the plan of a statement without its values
- ``rows``: rows removed and inserted in bulk
- ``scratch``: a temporary database of this process
"""

__all__: list[str] = []
