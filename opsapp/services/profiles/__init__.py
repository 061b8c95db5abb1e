"""Profiles: what was recorded of the time, kept within bounds, reported and compared."""

from .windows import Series, Trace, Window, shown_names, store

__all__ = ["Series", "Trace", "Window", "shown_names", "store"]
