"""A lock on an open file, which the kernel releases when its holder dies."""

from __future__ import annotations

import fcntl


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Lock the file if no other process holds it; return whether it is locked now.

    :param shared: let others lock it too, as long as they all share it.
    """
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
