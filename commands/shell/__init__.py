"""`flask shell` at a terminal.

session       the command: mode, program, reason
interactive   IPython with every input on record
scripts       `-c`, a file, or a pipe
magics        %sql, %queries, %dryrun, …
display       tables of models, rows and queries
banner        the first lines
prompts       the prompt
history       the history of the arrow keys

The session itself is in `opsapp/console/`; the reasons are in docs/decisions/console.md.
"""
