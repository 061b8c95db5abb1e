"""`flask roles`: a module for each subject.

===========  =====================================
definitions  `flask roles`, with the grants
files        `flask roles export` and `apply`
reviews      `flask roles review`
===========  =====================================

Decisions: docs/decisions/accounts.md
"""
