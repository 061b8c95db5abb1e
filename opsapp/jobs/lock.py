"""A lock kept for hours: noticed when it is lost, and taken again.

What :mod:`opsapp.engine.locks` holds for moments, a job holds for as long as it runs. On
SQLite that is an open file, which somebody may remove who takes it for left over. On
PostgreSQL it is a session, which a restart of the server ends. A thread looks twice a second
whether it is there, and takes the lock again on a new one. The server in turn looks whether
this host is there, so that one that lost its power holds nobody up for more than two seconds.
"""

from __future__ import annotations

import fcntl
import logging
import os
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from ..engine import direct, locks
from ..errors import NotReady

T = TypeVar("T")

log = logging.getLogger(__name__)

HEARTBEAT = 0.5
AWAY = 0.2
"""Seconds between two tries to reach a database that is away."""
PATIENCE = 0.1
"""Seconds that a look at the lock by :func:`held` may take somebody else's try."""
TURN = 0.2
"""Seconds between two tries to take a lock that somebody holds, at the most."""
CROWD_TURN = 2.0
CROWD_SECONDS = 120
"""So long it is tried to get a connection while the server has too many."""


class Kept(Protocol):
    """A lock that is held."""

    @property
    def descriptor(self) -> int:
        """Who else has this open keeps the lock, too."""

    def server_age(self) -> float | None:
        """Seconds since the database's server was started; None where there is no server."""

    def watch(self, is_replaced: Callable[[sa.Connection], bool], lost: Callable[[], None]) -> None:
        """From now on take it again when it was lost.

        :param is_replaced: whether somebody else has begun in our place meanwhile.
        :param lost: what to call then.
        """

    def close(self) -> None:
        """Let go."""


def take(engine: sa.Engine, name: str, *, wait: float | None = 0) -> Kept | None:
    """The lock ``name`` of this database, on every host that shares it.

    :param wait: seconds to wait for it; None is for ever.
    :returns: None if somebody else still holds it then.
    :raises NotReady: the database cannot be reached.
    """
    kind = _File if engine.dialect.name == "sqlite" else _Session
    return kind.take(engine, name, wait)


def _turns(wait: float | None, longest: float = TURN) -> Iterator[None]:
    """Turns to try for so many seconds, the first one always; the pauses in between grow."""
    deadline = None if wait is None else time.monotonic() + wait
    pause = TURN / 2
    while True:
        yield
        if deadline is not None and time.monotonic() >= deadline:
            return
        # All who wait began at the same moment, and shall not knock at the same moment again.
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  (a lot, not a secret)
        pause = min(pause * 2, longest)


def patiently(act: Callable[[], T]) -> T:
    """What ``act`` returns, as soon as the server has a connection left for it."""
    refused: OperationalError | None = None
    for _turn in _turns(CROWD_SECONDS, CROWD_TURN):
        try:
            return act()
        except OperationalError as error:
            if not _is_crowded(error):
                raise
            refused = error
    raise refused or AssertionError("there is always a first turn")


def _is_crowded(error: OperationalError) -> bool:
    """Whether the server refused a connection because it has too many."""
    says = str(error.orig)
    full = ("too many clients", "remaining connection slots", "no more connections allowed")
    return any(words in says for words in full)


def held(engine: sa.Engine, names: Collection[str]) -> set[str]:
    """Those of the locks that somebody holds now."""
    if not names:
        return set()
    if engine.dialect.name == "sqlite":
        return {name for name in names if _is_locked(engine, name)}
    with engine.connect() as connection:
        keys = {locks.number(connection, name): name for name in names}
        return {keys[key] for key in locks.holders(connection).keys() & keys.keys()}


def _is_locked(engine: sa.Engine, name: str) -> bool:
    with _closing(locks.open_file(engine, name)) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Watched(ABC):
    """A lock that a thread looks after."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(self, is_replaced: Callable[[sa.Connection], bool], lost: Callable[[], None]) -> None:
        self._watcher = threading.Thread(target=self._watch, args=(is_replaced, lost), daemon=True)
        self._watcher.start()

    @abstractmethod
    def _watch(
        self, is_replaced: Callable[[sa.Connection], bool], lost: Callable[[], None]
    ) -> None: ...

    def _stop_watching(self, patience: float | None = None) -> None:
        self._ending.set()
        if self._watcher is not None:
            self._watcher.join(patience)


# --- sqlite ------------------------------------------------------------------


class _File(_Watched):
    """``flock`` on a file beside the database."""

    def __init__(self, engine: sa.Engine, name: str, descriptor: int) -> None:
        self._engine = engine
        self._name = name
        self.descriptor = descriptor
        super().__init__()

    @classmethod
    def take(cls, engine: sa.Engine, name: str, wait: float | None) -> _File | None:
        descriptor = locks.open_file(engine, name)
        try:
            # Somebody may only be looking, for a moment.
            for _turn in _turns(None if wait is None else max(wait, PATIENCE)):
                if _has_flock(descriptor):
                    return cls(engine, name, descriptor)
                with _closing(locks.open_file(engine, name)) as there:  # It may be another one now.
                    os.dup2(there, descriptor, inheritable=False)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def server_age(self) -> None:
        return None

    def _watch(
        self, is_replaced: Callable[[sa.Connection], bool], lost: Callable[[], None]
    ) -> None:
        while not self._ending.wait(HEARTBEAT):
            with suppress(SQLAlchemyError, NotReady):
                if self._is_removed() and not self._take_again(is_replaced):
                    lost()
                    return

    def _is_removed(self) -> bool:
        return os.fstat(self.descriptor).st_nlink == 0

    def _take_again(self, is_replaced: Callable[[sa.Connection], bool]) -> bool:
        """Lock the file that is there now; False if somebody else has begun in our place."""
        with _closing(locks.open_file(self._engine, self._name)) as there:
            if not _has_flock(there):
                with self._engine.connect() as connection:
                    return not is_replaced(connection)
            os.dup2(there, self.descriptor, inheritable=False)
        log.warning("somebody removed the job's lock; it is taken again")
        return True

    def close(self) -> None:
        self._stop_watching()
        os.close(self.descriptor)


def _has_flock(descriptor: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


# --- postgresql --------------------------------------------------------------


class _Session(_Watched):
    """An advisory lock on a session of its own."""

    def __init__(self, engine: sa.Engine, connection: sa.Connection, key: int) -> None:
        self._engine = engine
        self._connection = connection
        self._key = key
        super().__init__()

    @classmethod
    def take(cls, engine: sa.Engine, name: str, wait: float | None) -> _Session | None:
        connection = patiently(partial(direct.connect, engine))
        try:
            key = locks.number(connection, name)
            for _turn in _turns(wait):
                if _has_locked(connection, key):
                    return cls(engine, connection, key)
        except BaseException:
            connection.close()
            raise
        connection.close()
        return None

    @property
    def descriptor(self) -> int:
        driver: Any = self._connection.connection.driver_connection
        return int(driver.fileno())

    def server_age(self) -> float:
        age = sa.text("SELECT extract(epoch FROM clock_timestamp() - pg_postmaster_start_time())")
        return float(self._connection.scalar(age) or 0)

    def _watch(
        self, is_replaced: Callable[[sa.Connection], bool], lost: Callable[[], None]
    ) -> None:
        while not self._ending.wait(HEARTBEAT):
            try:
                self._connection.execute(sa.select(1))
            except SQLAlchemyError:
                if not self._take_again(is_replaced):
                    lost()
                    return

    def _take_again(self, is_replaced: Callable[[sa.Connection], bool]) -> bool:
        """Whether the lock is ours again; False if somebody else has begun in our place."""
        log.warning("the database took the job's lock away; it is taken again")
        while not self._ending.wait(AWAY):
            with suppress(SQLAlchemyError, NotReady):
                self._connection.close()
            with suppress(SQLAlchemyError, NotReady):
                self._connection = direct.connect(self._engine)
                if _has_locked(self._connection, self._key):
                    return True
                if is_replaced(self._connection):
                    return False
        return True

    def close(self) -> None:
        self._stop_watching(HEARTBEAT * 4)
        with suppress(SQLAlchemyError):  # What is broken holds nothing.
            self._connection.close()


def _has_locked(connection: sa.Connection, key: int) -> bool:
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))
