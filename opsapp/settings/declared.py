"""The settings: each one declared once, with its meaning, default, parser and secrecy."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from urllib.parse import quote, urlsplit

from .. import addresses
from ..errors import NotReady
from ..libpq import modern_url
from ..text import is_utf8, validate
from . import parsers, secret_files
from .parsers import switch
from .setting import DATABASE, DEVELOPMENT, PRODUCTION, Setting, Values

ROOT = Path(__file__).resolve().parents[2]
SHIPPED_JOBS = ROOT / "opsapp" / "jobs" / "jobs.toml"
SHIPPED_JOBS_ATTACHED = SHIPPED_JOBS.with_name("attached.toml")
"""The schedules that ship; the second for an application that opsapp is attached to."""


# --- defaults that depend on other settings ----------------------------------


def _instance_folder(values: Values) -> Path:
    if values.attachment is not None:
        return Path(values.attachment.instance)
    if (ROOT / ".flaskenv").exists():
        return ROOT / "instance"
    from platformdirs import user_state_path

    try:
        return user_state_path("opsapp")
    except RuntimeError as error:  # The user is in no passwd file, and HOME is not set.
        hint = "set OPSAPP_INSTANCE to the folder of this installation"
        raise NotReady("this user has no home folder", hint=hint) from error


def _in_instance(name: str, values: Values) -> Path:
    return Path(values["OPSAPP_INSTANCE"]) / name


def _database_url(values: Values) -> str | None:
    if values.attachment is not None:
        return None  # Our tables are in the application's database.
    if url := values.environ.get("DATABASE_URL"):
        return modern_url(url)
    file = str(_in_instance("opsapp.sqlite", values))
    if not is_utf8(file):
        hint = "set OPSAPP_INSTANCE to another folder"
        raise NotReady(f"the path {file} is not UTF-8", hint=hint)
    return f"sqlite:///{quote(file)}"


def _idle_minutes(values: Values) -> float:
    return 10 if values["OPSAPP_ENV"] == PRODUCTION else 30


def _schedule(values: Values) -> Path:
    own = _in_instance("jobs.toml", values)
    if own.exists():
        return own
    return SHIPPED_JOBS if values.attachment is None else SHIPPED_JOBS_ATTACHED


def _app_name(values: Values) -> str:
    return "opsapp" if values.attachment is None else str(values.attachment.app.name)


def _sender(values: Values) -> str:
    return f"no-reply@{urlsplit(values['OPSAPP_URL'] or '').hostname or 'localhost'}"


def _generate(name: str, values: Values) -> str:
    env = values["OPSAPP_ENV"]
    if env != DEVELOPMENT:
        raise NotReady(f"{name} is not set, and OPSAPP_ENV is {env}", hint=secret_files.NEW)
    return secret_files.read_or_create(_in_instance("secrets", values) / name.lower())


# --- the settings ------------------------------------------------------------


def _secret(name: str, meaning: str) -> Setting:
    return Setting(
        name,
        f"{meaning} {name}_FILE names a file that holds it.",
        partial(_generate, name),
        in_words="generated in development",
        secret=True,
        strong=True,
        in_file=True,
    )


SETTINGS = (
    Setting(
        "OPSAPP_ENV",
        "The environment's name. Anything but development asks for real secrets;"
        " production also asks to type the name before severe changes.",
        DEVELOPMENT,
        read=parsers.name,
    ),
    Setting(
        DATABASE,
        "The database: sqlite:///FILE or postgresql://USER@HOST/NAME."
        " DATABASE_URL is read if it is not set. Attached, opsapp has its tables alone there.",
        _database_url,
        modern_url,
        "opsapp.sqlite in the instance folder; an attached application's own",
        secret=True,
        key="SQLALCHEMY_DATABASE_URI",
    ),
    Setting(
        "OPSAPP_DIRECT_DATABASE_URL",
        "The same PostgreSQL database without the pooler in front of it: for the locks of jobs"
        " and migrations, and for backups. Needed behind PgBouncer in transaction mode.",
        read=modern_url,
        in_words="OPSAPP_DATABASE_URL",
        secret=True,
    ),
    Setting(
        "OPSAPP_READONLY_DATABASE_URL",
        "The same PostgreSQL database, by a role without write grants: for flask query and"
        " flask shell --read-only.",
        read=modern_url,
        in_words="none; the server's read-only setting is used instead",
        secret=True,
    ),
    Setting(
        "OPSAPP_SHELL_IDLE",
        "Minutes without a key press after which flask shell rolls back and exits; 0 means never.",
        _idle_minutes,
        partial(parsers.amount, unit="minutes", limit=100_000),
        "30, and 10 in production",
    ),
    Setting(
        "OPSAPP_SHELL_AUDIT_HOOK",
        "off runs flask shell without Python's audit hook; the transcript is still written.",
        "on",
    ),
    Setting(
        "OPSAPP_STATEMENT_TIMEOUT",
        "PostgreSQL's statement timeout in seconds; 0 means none.",
        "30",
        partial(parsers.amount, unit="seconds", limit=2_000_000),
    ),
    Setting(
        "OPSAPP_INSTANCE",
        "The folder for the SQLite file, generated secrets and error logs.",
        _instance_folder,
        parsers.file,
        "instance/ of the checkout, or the user's state folder when installed",
    ),
    Setting(
        "OPSAPP_FORMAT",
        "The output format when --format is not given.",
        read=parsers.output_format,
        in_words="table or plain",
    ),
    Setting(
        "OPSAPP_PAGER",
        "The pager for long answers on a terminal. It takes precedence over PAGER;"
        " cat turns it off.",
        in_words="PAGER, else less",
    ),
    Setting(
        "OPSAPP_ACTOR",
        "The person behind a shared account; added to the audit log.",
        read=partial(validate, field="OPSAPP_ACTOR", longest=128),
    ),
    Setting(
        "OPSAPP_NAME",
        "The application's name on its pages and in its mail.",
        _app_name,
        read=parsers.name,
        in_words="opsapp; an application's own name where opsapp is attached to it",
        key="APP_NAME",
    ),
    Setting(
        "OPSAPP_URL",
        "The address of the application, such as https://ops.example.com: for the links in mail,"
        " and the only host name it answers to. Needed to serve outside development.",
        read=parsers.origin,
        in_words="the host that the browser asks for",
    ),
    Setting(
        "OPSAPP_PROXIES",
        "The number of reverse proxies that stand in front and set X-Forwarded-For.",
        "0",
        parsers.integer,
    ),
    Setting("OPSAPP_REGISTRATION", "on lets visitors register.", "off", switch),
    Setting(
        "OPSAPP_TWO_FACTOR",
        "The accounts that must use two factors: `optional` (none), `admins` (those that can change"
        " accounts, roles or grants), or `everybody` (all).",
        "optional",
        parsers.choice("optional", "admins", "everybody"),
    ),
    Setting(
        "OPSAPP_BREACHED_PASSWORDS",
        "A sorted file of the SHA-1 hashes of stolen passwords, as haveibeenpwned-downloader"
        " writes it; a new password that is in it is refused.",
        read=parsers.file,
    ),
    Setting(
        "OPSAPP_SESSION_HOURS",
        "Hours after which a browser must sign in again.",
        "12",
        partial(parsers.integer, low=1),
    ),
    Setting(
        "OPSAPP_SESSION_IDLE",
        "Minutes without a request after which a browser must sign in again; 0 means never.",
        "60",
        parsers.integer,
    ),
    Setting(
        "OPSAPP_NOTICES", "off sends no mail about new accounts and granted roles.", "on", switch
    ),
    Setting("OPSAPP_PROFILING", "off records no timings of requests and commands.", "on", switch),
    Setting(
        "OPSAPP_METRICS",
        "on serves /metrics, for Prometheus, to accounts with profile:read.",
        "off",
        switch,
    ),
    Setting(
        "PROMETHEUS_MULTIPROC_DIR",
        "The folder in which the processes of a server share their metrics.",
        read=Path,
        in_words="metrics in the instance folder",
    ),
    Setting(
        "OPSAPP_REPEATS_ALLOWED",
        "Statements that may be repeated in a request: patterns of file and function, each"
        " perhaps with how often, as in 'shop/feed.py in *=20'; a semicolon between them.",
        "",
    ),
    Setting(
        "MAIL_SERVER",
        "The SMTP server. Without one development writes mail into the instance folder,"
        " and elsewhere it waits.",
        read=parsers.mail_host,
    ),
    Setting("MAIL_PORT", "The port of the SMTP server.", "25", parsers.integer),
    Setting(
        "MAIL_USE_TLS", "on begins TLS with STARTTLS, and checks the certificate.", "off", switch
    ),
    Setting("MAIL_USE_SSL", "on uses implicit TLS, usually on port 465.", "off", switch),
    Setting("MAIL_USERNAME", "The name to sign in with to the SMTP server."),
    Setting(
        "MAIL_PASSWORD",
        "Its password. MAIL_PASSWORD_FILE names a file that holds it.",
        secret=True,
        in_file=True,
    ),
    Setting(
        "MAIL_DEFAULT_SENDER",
        "The sender of mail.",
        _sender,
        in_words="no-reply@ the host of OPSAPP_URL",
    ),
    Setting(
        "OPSAPP_JOBS",
        "The schedule of flask jobs.",
        _schedule,
        parsers.file,
        "jobs.toml of the instance folder, else the one that ships",
    ),
    Setting(
        "OPSAPP_JOBS_NOTIFY",
        "The targets of alerts when a job fails or recovers: addresses, and healthchecks-style"
        " URLs; {job} in a URL becomes the job's name.",
        "",
        addresses.targets,
        secret=True,
    ),
    Setting(
        "OPSAPP_JOBS_NOTIFY_AFTER",
        "The number of failures in a row after which an alert is sent.",
        "1",
        partial(parsers.integer, low=1, high=1000),
    ),
    Setting(
        "RATELIMIT_STORAGE_URI",
        "The store that counts for the rate limits: redis://HOST for several hosts to share it.",
        "memory://",
        in_words="memory://, in each process",
        secret=True,
    ),
    _secret("SECRET_KEY", "Signs sessions and tokens."),
    _secret(
        "SECURITY_PASSWORD_SALT",
        "The pepper of every password hash; without it no password verifies.",
    ),
    _secret(
        "OPSAPP_AUDIT_KEY",
        "Keys the audit log's hash chain; keep it out of the database and its backups.",
    ),
)
BY_NAME = {setting.name: setting for setting in SETTINGS}

SECRETS = tuple(setting.name for setting in SETTINGS if setting.strong)
"""The secrets that every installation needs, strong and different from each other."""
IN_FILES = tuple(f"{setting.name}_FILE" for setting in SETTINGS if setting.in_file)
"""The names that may name a secret's file."""
HANDED_DOWN = (
    "OPSAPP_CORRELATION",
    "OPSAPP_JOB",
    "OPSAPP_JOB_RUN",
    "OPSAPP_PROFILE_FD",
    "OPSAPP_PROFILE_MODE",
)
"""Variables that a process of ours sets for the processes it starts; they are no settings."""
