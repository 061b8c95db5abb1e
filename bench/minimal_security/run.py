"""``flask`` as it would be in an environment of the minimal application alone.

opsapp's entry points would shadow Flask-Security's ``users`` group, and
Flask-Migrate's would add weight that the minimal application did not ask for.
So the entry points are looked up as ``flask`` does, and none of them is loaded;
everything else is what ``flask`` does.
"""

from __future__ import annotations

import importlib.metadata
import sys

from flask.cli import FlaskGroup


class Group(FlaskGroup):
    """Flask's group without the commands of other packages."""

    def _load_plugin_commands(self) -> None:
        list(importlib.metadata.entry_points(group="flask.commands"))


if __name__ == "__main__":
    # The same group that flask.cli.main() runs, with the same arguments.
    sys.exit(Group(name="flask").main(prog_name="flask"))
