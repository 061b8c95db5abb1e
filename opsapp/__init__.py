"""opsapp: the operations console of a Flask application."""

from .factory import create_app, has_web, without_web
from .version import __version__

__all__ = ["__version__", "create_app", "has_web", "without_web"]
