"""Every setting that the environment may have, and what it says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Setting:
    """One environment variable: its name, its meaning, and its default in words."""

    name: str
    meaning: str
    default: str
    secret: bool = False
    in_file: bool = False
    """Whether ``NAME_FILE`` may name a file that holds it."""


SETTINGS = (
    Setting(
        "OPSAPP_ENV",
        "The environment's name. Anything but development asks for real secrets;"
        " production also asks to type the name before severe changes.",
        "development",
    ),
    Setting(
        "OPSAPP_DATABASE_URL",
        "The database: sqlite:///FILE or postgresql://USER@HOST/NAME."
        " DATABASE_URL is read where it is not set.",
        "opsapp.sqlite in the instance folder",
        secret=True,
    ),
    Setting(
        "OPSAPP_DIRECT_DATABASE_URL",
        "The same PostgreSQL database without the pooler in front of it: for the locks of jobs"
        " and migrations, and for backups. Needed behind PgBouncer in transaction mode.",
        "OPSAPP_DATABASE_URL",
        secret=True,
    ),
    Setting(
        "OPSAPP_READONLY_DATABASE_URL",
        "The same PostgreSQL database, by a role without write grants: for flask query and"
        " flask shell --read-only.",
        "none; the server's read-only setting stands in for it",
        secret=True,
    ),
    Setting(
        "OPSAPP_SHELL_IDLE",
        "After so many minutes without a key flask shell rolls back and leaves; 0 is never.",
        "30, and 10 in production",
    ),
    Setting(
        "OPSAPP_SHELL_AUDIT_HOOK",
        "off leaves Python's audit hook out of flask shell; the transcript stays.",
        "on",
    ),
    Setting(
        "OPSAPP_STATEMENT_TIMEOUT",
        "Seconds after which PostgreSQL gives up a statement; 0 is never.",
        "30",
    ),
    Setting(
        "OPSAPP_INSTANCE",
        "The folder for the SQLite file, generated secrets and error logs.",
        "instance/ of the checkout, or the user's state folder when installed",
    ),
    Setting("OPSAPP_FORMAT", "The output format when --format is not given.", "table or plain"),
    Setting("OPSAPP_ACTOR", "Who is behind a shared account; added to the audit.", "nobody"),
    Setting(
        "OPSAPP_NAME", "What the application is called on its pages and in its mail.", "opsapp"
    ),
    Setting(
        "OPSAPP_URL",
        "Where people reach the application, such as https://ops.example.com: the links in mail,"
        " and the only host name it answers to. Needed to serve outside development.",
        "whatever the browser asks for",
    ),
    Setting(
        "OPSAPP_PROXIES",
        "How many reverse proxies stand in front and set X-Forwarded-For.",
        "0",
    ),
    Setting("OPSAPP_REGISTRATION", "on lets strangers make accounts for themselves.", "off"),
    Setting(
        "OPSAPP_TWO_FACTOR",
        "Who must use two factors: optional (nobody must), admins (whoever can change accounts,"
        " roles or grants), or everybody.",
        "optional",
    ),
    Setting("OPSAPP_SESSION_HOURS", "After so many hours a browser has to sign in again.", "12"),
    Setting("OPSAPP_NOTICES", "off sends no mail about new accounts and granted roles.", "on"),
    Setting(
        "OPSAPP_PROFILING",
        "off records nothing of where the time goes in requests and commands.",
        "on",
    ),
    Setting(
        "OPSAPP_METRICS",
        "on serves /metrics to whoever holds profile:read, for Prometheus.",
        "off",
    ),
    Setting(
        "OPSAPP_REPEATS_ALLOWED",
        "Statements that may be repeated in a request: patterns of file and function, each"
        " perhaps with how often, as in 'shop/feed.py in *=20'; a semicolon between them.",
        "none",
    ),
    Setting(
        "MAIL_SERVER",
        "The SMTP server. Without one development writes mail into the instance folder,"
        " and elsewhere it waits.",
        "none",
    ),
    Setting("MAIL_PORT", "The port of the SMTP server.", "25"),
    Setting("MAIL_USE_TLS", "on begins TLS with STARTTLS, and checks the certificate.", "off"),
    Setting("MAIL_USE_SSL", "on speaks TLS from the first byte, often on port 465.", "off"),
    Setting("MAIL_USERNAME", "Signs in to the SMTP server.", "nobody"),
    Setting(
        "MAIL_PASSWORD",
        "Its password. MAIL_PASSWORD_FILE names a file that holds it.",
        "none",
        secret=True,
        in_file=True,
    ),
    Setting("MAIL_DEFAULT_SENDER", "Whom mail is from.", "no-reply@ the host of OPSAPP_URL"),
    Setting(
        "OPSAPP_JOBS",
        "The schedule of flask jobs.",
        "jobs.toml of the instance folder, else the one that ships",
    ),
    Setting(
        "OPSAPP_JOBS_NOTIFY",
        "Who is told when a job fails and recovers: addresses, and URLs in the manner of"
        " healthchecks; {job} in a URL becomes the job's name.",
        "nobody",
        secret=True,
    ),
    Setting("OPSAPP_JOBS_NOTIFY_AFTER", "So many failures in a row are told.", "1"),
    Setting(
        "RATELIMIT_STORAGE_URI",
        "Where the rate limits are counted: redis://HOST for several hosts to share them.",
        "memory://, in each process",
        secret=True,
    ),
    Setting(
        "SECRET_KEY",
        "Signs sessions and tokens. SECRET_KEY_FILE names a file that holds it.",
        "generated in development",
        secret=True,
        in_file=True,
    ),
    Setting(
        "SECURITY_PASSWORD_SALT",
        "The pepper of every password hash; without it no password verifies."
        " SECURITY_PASSWORD_SALT_FILE names a file that holds it.",
        "generated in development",
        secret=True,
        in_file=True,
    ),
    Setting(
        "OPSAPP_AUDIT_KEY",
        "Keys the audit's hash chain; keep it out of the database and its backups."
        " OPSAPP_AUDIT_KEY_FILE names a file that holds it.",
        "generated in development",
        secret=True,
        in_file=True,
    ),
)

IN_FILES = tuple(f"{one.name}_FILE" for one in SETTINGS if one.in_file)
"""The names that may name a secret's file."""
HANDED_DOWN = (
    "OPSAPP_CORRELATION",
    "OPSAPP_JOB",
    "OPSAPP_JOB_RUN",
    "OPSAPP_PROFILE_FD",
    "OPSAPP_PROFILE_MODE",
)
"""What a process is told by the one of ours that started it; nobody else sets them."""
