"""Audit: read, verify and checkpoint the chain of events. See docs/decisions/audit.md.

- ``events``: list, follow, show and export events, with present names
- ``filters``: choose events by actor, action, subject and time
- ``verification``: verify the chain, against checkpoints too; declare a restore
- ``replay``: the facts that each event changes
- ``state``: the state that the events give, compared with the tables
- ``checkpoints``: signed lines to keep elsewhere
- ``personal_data``: the events about an account, for its owner
- ``stored``: the raw columns that both read, a page at a time
"""

__all__: list[str] = []
