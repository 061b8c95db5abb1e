"""opsapp: the operations console of a Flask application."""

from typing import TYPE_CHECKING

from .factory import create_app, has_web, without_web
from .lazy import exports
from .version import __version__

if TYPE_CHECKING:
    from .attach import Ops as Ops

__all__ = ["Ops", "__version__", "create_app", "has_web", "without_web"]

__getattr__ = exports(
    __name__,
    **{
        "attach": ["Ops"],
        # %load_ext opsapp, in a Jupyter kernel.
        "commands.shell.kernel": ["load_ipython_extension", "unload_ipython_extension"],
    },
)
