"""Files that a user names: written whole, never over a file of the installation.

- ``targets``: names that are refused
- ``drafts``: a file beside its place that appears there whole
"""
