"""The pager of `help()`, `?` and `%page`: the one of long lists, which starts no program."""

from __future__ import annotations

import pydoc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from opsapp.cli import pager


@contextmanager
def of_python() -> Iterator[None]:
    """Let ``help()`` use the pager; pydoc's own lets a user of ``less`` start programs."""
    before = pydoc.pager
    pydoc.pager = _show  # type: ignore[assignment]  # Python 3.13 gives a title, too.
    try:
        yield
    finally:
        pydoc.pager = before


def of_ipython(_shell: Any, data: str | Mapping[str, str], **_place: int) -> None:
    """Show a text, or one of several representations; a hook of IPython."""
    _show(data if isinstance(data, str) else data["text/plain"])


def _show(words: str, _title: str = "") -> None:
    pager.write([words if words.endswith("\n") else f"{words}\n"])
