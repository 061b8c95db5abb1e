"""`flask shell` at a terminal.

session       the command: mode, program, reason
recorded      a shell of IPython with every input on record
interactive   that shell at a terminal
kernel        that shell in a Jupyter kernel: %load_ext opsapp
plain         Python's own console
conditions    errors as lines
scripts       `-c`, a file, or a pipe
magics        %names, %queries, %dryrun, …
sql_magics    %sql, %explain, %tables, %schema
display       tables of models, rows and queries
formatters    values at the prompt
hidden        secrets in containers
completions   tables, columns, accounts and roles
banner        the first lines
prompts       the prompt
history       the history of the arrow keys

The session itself is in `opsapp/console/`; the reasons are in docs/decisions/console.md.
"""
