"""`flask query`: one statement that reads.

statement    the statement, checked and run in a thread
parameters   each `:name` of a statement
loaders      values of PostgreSQL, exact
schema       tables and their columns

The reasons are in docs/decisions/console.md#a-query-runs-in-a-thread.
"""
