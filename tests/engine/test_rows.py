"""Many rows at once: conditions on thousands of values."""

from __future__ import annotations

import gc
import weakref

from flask import Flask

from opsapp.engine.rows import among
from opsapp.models import User


def test_condition_on_many_values_is_no_cycle_that_keeps_them(app: Flask) -> None:
    gc.disable()  # What has no cycle is gone with its last name.
    try:
        condition = among(User.email, ["a@example.com"])
        reference = weakref.ref(condition)
        del condition
        assert reference() is None
    finally:
        gc.enable()
