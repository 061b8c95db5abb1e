"""Recording: measure requests and commands while they run.

- :mod:`.recorder`: stands around the WSGI application and in front of the database driver
- :mod:`.recording`: one request or command
- :mod:`.callers`: the line of the application that sent a statement
- :mod:`.aggregates`: the sums of each minute, and the recordings worth a trace
- :mod:`.writer`: the threads that write to the database and sample stacks
- :mod:`.profilers`: the profilers behind ``X-Profile``
- :mod:`.tokens`: those that allow a profile
- :mod:`.prof_files`: ``.prof`` files, written and read
- :mod:`.handover`: the SQL of a measured command, sent to the measuring process

The reasons are in docs/decisions/profiling.md.
"""
