"""The console: `flask shell` and `flask query`, without a terminal.

lifecycle      a session from its first event to its last
modes          read-only, sandbox, write
readonly       connections that cannot write
sandbox        a copy, or a transaction that cannot be committed
sessions       sessions in the audit
transcript     the file with every input of a session
audit_hook     events that Python itself reports
namespace      the names of the console
transactions   the end of an input's transactions
pending        objects that wait for a commit
loaded         values of objects, which a rollback gives back
change_log     rows that transactions wrote, by table
abandoned      changes of what was closed before a commit
query_log      statements of an input, with their times
masking        secrets in the rows of an input's queries
secret_columns columns with telling names, and those that a model declares
listeners      what a session hears of the engines
interrupts     Ctrl-C during a statement
waits          the time in which an input waits for its user
tracebacks     the frames of the application
preferences    console.toml
web_client     requests to the application
plans          the database's plan of a statement
query/         `flask query`: parameters, statement, values, schema

The terminal is `commands/shell/`; the reasons are in docs/decisions/console.md.
"""

__all__: list[str] = []
