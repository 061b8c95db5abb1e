"""Files that a user names: written whole, never over a file of the installation.

Decisions: docs/decisions/core.md#files-that-a-user-names

- ``targets``: names that are refused
- ``modes``: files that other users can read or write
- ``drafts``: a file beside its place that appears there whole
"""

__all__: list[str] = []
