"""`flask shell` at a terminal.

session       the command: mode, program, reason
interactive   IPython with every input on record
scripts       `-c`, a file, or a pipe
magics        %names, %queries, %dryrun, …
sql_magics    %sql, %explain, %tables, %schema
display       tables of models, rows and queries
formatters    values at the prompt
completions   tables, columns, accounts and roles
banner        the first lines
prompts       the prompt
history       the history of the arrow keys

The session itself is in `opsapp/console/`; the reasons are in docs/decisions/console.md.
"""
