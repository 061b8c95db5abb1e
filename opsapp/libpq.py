"""The start of a PostgreSQL session: libpq's keywords, and settings of the server.

A URL, the environment (``PGOPTIONS``, ``PGAPPNAME`` and so on) and a service file may say
how to connect. That wins over the bounds of ours. Only the settings by which opsapp reads
values come after it; they win over the settings of a database or a role as well.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

from . import text
from .errors import NotReady

Keywords = Mapping[str, Any]

CONNECT_SECONDS = 5
IDLE_SECONDS = 60
NAME_BYTES = 63
"""PostgreSQL cuts an ``application_name`` there."""

RELIED_ON = {
    "timezone": "UTC",
    # psycopg reads no other style of dates and intervals, and SQLAlchemy no quoted names.
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    # A unit that waited at the gate must see what was committed meanwhile.
    "default_transaction_isolation": "read committed",
}
"""The settings that opsapp cannot do without."""

# A frozen host or a cut network is noticed within half a minute.
_LOOKS = {
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


def modern_url(url: str) -> str:
    """Return the URL with a scheme and hosts as SQLAlchemy spells them.

    ``postgres://`` and the names of other drivers become ``postgresql+psycopg://``.
    """
    for prefix in ("postgres://", "postgresql://", "postgresql+psycopg://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + normalize_address(url.removeprefix(prefix))
    return url


def keywords(query: Mapping[str, str | Sequence[str]]) -> dict[str, str]:
    """Return the parameters of a URL; of one that is repeated the last counts, as for libpq."""
    return {name: v if isinstance(v, str) else v[-1] for name, v in query.items()}


def refuse_unknown(words: Keywords, setting: str) -> None:
    """Refuse the parameters of a URL that libpq does not have, before a connection is tried.

    :param setting: the name of the setting that has the URL.
    :raises NotReady: names the first.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import make_conninfo, timeout_from_conninfo

    try:
        make_conninfo(**words)
        timeout_from_conninfo({**words})
    except ProgrammingError as error:
        message = text.first_line(error)
        raise NotReady(f"{setting} cannot be used: {message}") from error


def additions(
    options: Keywords, *, lock_seconds: float, statement_seconds: float
) -> dict[str, Any]:
    """Return the keywords to add to those of a URL.

    :param options: what is said already, as :func:`said` tells.
    """
    bounds = {
        "lock_timeout": f"{lock_seconds * 1000:.0f}ms",
        "statement_timeout": f"{statement_seconds * 1000:.0f}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
        # A killed client's locks are free within a second, not when its statement ends.
        "client_connection_check_interval": "1s",
    }
    defaults = {"connect_timeout": str(CONNECT_SECONDS), **_LOOKS}
    return {
        **{name: value for name, value in defaults.items() if name not in options},
        "client_encoding": "utf8",
        "options": " ".join(
            filter(None, (_options(bounds), options.get("options"), _options(RELIED_ON)))
        ),
    }


def _options(settings: Mapping[str, str]) -> str:
    escaped = {name: re.sub(r"([\\\s])", r"\\\1", value) for name, value in settings.items()}
    return " ".join(f"-c {name}={value}" for name, value in escaped.items())


def application_name(prefix: str | None, purpose: str) -> str:
    """Return the ``application_name`` of a session: the operator's name for it before ours."""
    name = f"{prefix}: {purpose}" if prefix else purpose
    # The end of a label says less than its start.
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def parameters(words: Keywords) -> dict[str, str]:
    """Return the parameters of the URL, the environment and a service file, in that order."""
    from psycopg import OperationalError
    from psycopg.pq import Conninfo

    with _service(words.get("service")):
        try:
            options = Conninfo.get_defaults()
        except OperationalError:
            options = []  # There is no such service; connecting says so.
    # The defaults that were compiled in are no word of the operator's.
    defaults = {
        option.keyword.decode(): option.val.decode(errors="replace")
        for option in options
        if option.val is not None and option.val != option.compiled
    }
    return {**defaults, **words}


@contextmanager
def _service(name: str | None) -> Iterator[None]:
    """Let libpq tell the defaults of a service, which it looks up by the environment alone."""
    before = os.environ.get("PGSERVICE")
    if name is not None:
        os.environ["PGSERVICE"] = name
    try:
        yield
    finally:
        if name is not None:
            os.environ.pop("PGSERVICE")
        if before is not None:
            os.environ["PGSERVICE"] = before


def settle(connection: Any) -> None:
    """Set again what libpq's own ``PGDATESTYLE`` and ``PGTZ`` have set after our options."""
    if not os.environ.keys() & {"PGDATESTYLE", "PGTZ"}:
        return
    before, connection.autocommit = connection.autocommit, True
    for name in ("datestyle", "timezone"):
        connection.execute(f"SET {name} = {RELIED_ON[name]}")
    connection.autocommit = before


# --- URLs --------------------------------------------------------------------

_PLACE = re.compile(r"((?:[^@/?]*@)?)([^@/?]*)(/[^@?]*)?(?:\?(.*))?", re.DOTALL)


def normalize_address(rest: str) -> str:
    """Return the part after ``postgresql://``, in a form that libpq and SQLAlchemy read alike.

    Several hosts (``a:1,b:2/db`` of libpq, ``?host=a:1&host=b:2`` of SQLAlchemy) become
    ``?host=a,b&port=1,2``, and of a keyword that is repeated the last counts.
    """
    place = _PLACE.fullmatch(rest)
    if place is None:
        return rest
    account, authority, database, query = (part or "" for part in place.groups())
    words = parse_qsl(query, keep_blank_values=True)
    hosts = [value for name, value in words if name == "host"]
    several = authority.split(",") if "," in authority else hosts if len(hosts) > 1 else []
    keywords = dict(words)
    if several:
        pairs = [_apart(host) for host in several]
        authority = authority if "," not in authority else ""
        keywords["host"] = ",".join(host for host, _ in pairs)
        if any(port for _, port in pairs):
            keywords["port"] = ",".join(port for _, port in pairs)
    query = urlencode(keywords, quote_via=quote, safe="/,:", errors="surrogatepass")
    ending = f"?{query}" if keywords else ""
    return f"{account}{authority}{database or ('/' if ending else '')}{ending}"


def _apart(host: str) -> tuple[str, str]:
    """Host and port of ``host:port`` or ``[::1]:port``."""
    name, _, port = host.rpartition(":") if re.search(r"^[^:]*:\d*$|\]:", host) else (host, "", "")
    return name.strip("[]"), port
