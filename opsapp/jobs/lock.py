"""The lock of a job: held for hours, checked twice a second, taken again when it is lost.

On SQLite it is an open file, which an operator may remove as a leftover. On PostgreSQL it is
a session, which a restart of the server ends. A thread checks it and takes the lock again on
a new file or session. The server checks in turn that this host is there, so a host without
power blocks the others for two seconds at most.
Reasons: docs/decisions/jobs.md#a-job-lock-is-held-for-hours
"""

from __future__ import annotations

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
from ..engine.flock import try_lock
from ..errors import NotReady

T = TypeVar("T")

log = logging.getLogger(__name__)

HEARTBEAT = 0.5
AWAY = 0.2
"""Seconds between two tries to reach a database that is away."""
PATIENCE = 0.1
"""Seconds for which a look by :func:`locked_names` may keep another process from the lock."""
TURN = 0.2
"""Seconds between two tries to take a lock that another process holds, at most."""
CROWD_TURN = 2.0
"""The same for processes that may be many."""
CROWD_SECONDS = 120
"""Seconds of trying to connect while the server has too many clients."""


class JobLock(Protocol):
    """A lock of this process."""

    @property
    def descriptor(self) -> int:
        """The descriptor; another process that has it open keeps the lock, too."""

    def server_age(self) -> float | None:
        """Return the seconds since the database's server started; None without a server."""

    def watch(
        self, is_replaced: Callable[[sa.Connection], bool], alarm: Callable[[], None]
    ) -> None:
        """From now on take the lock again when it is lost.

        :param is_replaced: tells if another run has begun in our place meanwhile.
        :param alarm: called in that case.
        """

    def close(self) -> None:
        """Release the lock."""


def take(engine: sa.Engine, name: str, *, wait: float | None = 0) -> JobLock | None:
    """Take the lock ``name`` of this database, on every host that shares it.

    :param wait: seconds to wait for it; None is forever.
    :returns: None if another process still holds it then.
    :raises NotReady: the database cannot be reached.
    """
    kind = _File if engine.dialect.name == "sqlite" else _Session
    return kind.take(engine, name, wait)


def turns(wait: float | None, longest: float = TURN) -> Iterator[None]:
    """Yield turns to try for ``wait`` seconds, the first one always, with growing pauses."""
    deadline = None if wait is None else time.monotonic() + wait
    pause = TURN / 2
    while True:
        yield
        if deadline is not None and time.monotonic() >= deadline:
            return
        # All waiting processes began at one moment, and must not try again at one moment.
        time.sleep(random.uniform(pause / 2, pause))  # noqa: S311  (no secret)
        pause = min(pause * 2, longest)


def retry_patiently(act: Callable[[], T]) -> T:
    """Return the result of ``act``, as soon as the server has a connection left for it."""
    refusal: OperationalError | None = None
    for _turn in turns(CROWD_SECONDS, CROWD_TURN):
        try:
            return act()
        except OperationalError as error:
            if not _is_crowded(error):
                raise
            refusal = error
    raise refusal or AssertionError("there is always a first turn")


def _is_crowded(error: OperationalError) -> bool:
    """Return whether the server refused a connection because it has too many."""
    message = str(error.orig)
    refusals = ("too many clients", "remaining connection slots", "no more connections allowed")
    return any(words in message for words in refusals)


def locked_names(engine: sa.Engine, names: Collection[str]) -> set[str]:
    """Return the names of those locks that a process holds now."""
    if not names:
        return set()
    if engine.dialect.name == "sqlite":
        return {name for name in names if _is_locked(engine, name)}
    with engine.connect() as connection:
        keys = {locks.number(connection, name): name for name in names}
        return {keys[key] for key in locks.holders(connection).keys() & keys.keys()}


def _is_locked(engine: sa.Engine, name: str) -> bool:
    with _closing(locks.open_file(engine, name)) as descriptor:
        return not try_lock(descriptor, shared=True)


@contextmanager
def _closing(descriptor: int) -> Iterator[int]:
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Watched(ABC):
    """A lock that a thread checks."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._watcher: threading.Thread | None = None

    def watch(
        self, is_replaced: Callable[[sa.Connection], bool], alarm: Callable[[], None]
    ) -> None:
        self._watcher = threading.Thread(target=self._watch, args=(is_replaced, alarm), daemon=True)
        self._watcher.start()

    @abstractmethod
    def _watch(
        self, is_replaced: Callable[[sa.Connection], bool], alarm: Callable[[], None]
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
            # Another process may only be looking, for a moment.
            for _turn in turns(None if wait is None else max(wait, PATIENCE)):
                if try_lock(descriptor):
                    return cls(engine, name, descriptor)
                # The path may lead to another file by now.
                with _closing(locks.open_file(engine, name)) as current:
                    os.dup2(current, descriptor, inheritable=False)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        return None

    def server_age(self) -> None:
        return None

    def _watch(
        self, is_replaced: Callable[[sa.Connection], bool], alarm: Callable[[], None]
    ) -> None:
        while not self._ending.wait(HEARTBEAT):
            with suppress(SQLAlchemyError, NotReady):
                if self._is_removed() and not self._take_again(is_replaced):
                    alarm()
                    return

    def _is_removed(self) -> bool:
        return os.fstat(self.descriptor).st_nlink == 0

    def _take_again(self, is_replaced: Callable[[sa.Connection], bool]) -> bool:
        """Lock the file of the path; return False if another run has begun in our place."""
        with _closing(locks.open_file(self._engine, self._name)) as current:
            if not try_lock(current):
                with self._engine.connect() as connection:
                    return not is_replaced(connection)
            os.dup2(current, self.descriptor, inheritable=False)
        log.warning("the job's lock file was removed; the lock is taken again")
        return True

    def close(self) -> None:
        self._stop_watching()
        os.close(self.descriptor)


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
        connection = retry_patiently(partial(direct.connect, engine))
        try:
            key = locks.number(connection, name)
            for _turn in turns(wait):
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
        self, is_replaced: Callable[[sa.Connection], bool], alarm: Callable[[], None]
    ) -> None:
        while not self._ending.wait(HEARTBEAT):
            try:
                self._connection.execute(sa.select(1))
            except SQLAlchemyError:
                if not self._take_again(is_replaced):
                    alarm()
                    return

    def _take_again(self, is_replaced: Callable[[sa.Connection], bool]) -> bool:
        """Take the lock again; return False if another run has begun in our place."""
        log.warning("the database dropped the job's lock; the lock is taken again")
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
        with suppress(SQLAlchemyError):  # A broken connection holds nothing.
            self._connection.close()


def _has_locked(connection: sa.Connection, key: int) -> bool:
    return bool(connection.scalar(sa.select(sa.func.pg_try_advisory_lock(key))))
