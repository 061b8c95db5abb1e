"""Jobs: commands that run alone, with a time limit, a history and alerts.

- ``jobs.toml``: the schedule that ships
- ``schedule``: `jobs.toml` and the slots of its expressions
- ``fields``: the values of `jobs.toml`
- ``invocation``: a command with its options, actor and environment
- ``runner``: a run, from its lock to its alerts
- ``lock``: the lock of a job, held for hours
- ``process``: one attempt of a command
- ``guardian``: the end of a command whose runner was killed
- ``output``: the output of a command, redacted, and recorded while it runs
- ``runs``: the history, written
- ``history``: the history, read
- ``metrics``: the runs by outcome, for Prometheus
- ``health``: findings, and slots at which no run began
- ``alerts``: mail and pings
- ``install``: lines for cron, and a unit for systemd
- ``scheduler``: `flask jobs serve`

Decisions: docs/decisions/jobs.md
"""

__all__: list[str] = []
