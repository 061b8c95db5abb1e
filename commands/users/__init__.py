"""`flask users`: a module for each subject.

========  =====================================
accounts  `flask users`
files     `flask users import`, `flask users export`
leaving   its offboard, personal-data and delete
sessions  `flask users sessions`
tokens    `flask users tokens`
logins    `flask users logins`
========  =====================================

Decisions: docs/decisions/accounts.md
"""
