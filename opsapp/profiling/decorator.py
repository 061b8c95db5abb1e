"""``@profile_endpoint``: logs the duration of a view."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from time import perf_counter
from typing import Any, TypeVar, overload

from flask import current_app
from flask.views import View

from .. import text

SLOW_SECONDS = 1.0

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


@overload
def profile_endpoint(view: Endpoint, /) -> Endpoint: ...


@overload
def profile_endpoint(*, threshold: float = SLOW_SECONDS) -> Callable[[Endpoint], Endpoint]: ...


def profile_endpoint(view: Any = None, /, *, threshold: float = SLOW_SECONDS) -> Any:
    """Log ``Endpoint NAME took 0.1234 seconds`` for each call, even if it raises.

    Decorate a view function, a method of a ``MethodView``, or the class itself, or list it
    in ``decorators``. Of a class, the whole dispatch is timed.

    :param threshold: seconds; a call that takes longer is logged as a warning too.
    """

    def decorate(target: Any) -> Any:
        if isinstance(target, type) and issubclass(target, View):
            dispatch = _time_view(target.dispatch_request, target.__name__, threshold)
            target.dispatch_request = dispatch  # type: ignore[method-assign]
            return target
        return _time_view(target, target.__name__, threshold)

    return decorate if view is None else decorate(view)


def _time_view(view: Callable[..., Any], name: str, threshold: float) -> Callable[..., Any]:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        start = perf_counter()
        try:
            return current_app.ensure_sync(view)(*args, **kwargs)
        finally:
            _log(name, perf_counter() - start, threshold)

    return wrapper


def _log(name: str, seconds: float, threshold: float) -> None:
    log, endpoint = current_app.logger, text.safe(name)
    log.info("Endpoint %s took %.4f seconds", endpoint, seconds)
    if seconds > threshold:
        log.warning("Slow endpoint detected: %s (%.4fs)", endpoint, seconds)
