"""Profiles: what was recorded of the time, kept within bounds, reported and compared."""

from .storage import Series, Total, Trace, Window, shown_names, store

__all__ = ["Series", "Total", "Trace", "Window", "shown_names", "store"]
