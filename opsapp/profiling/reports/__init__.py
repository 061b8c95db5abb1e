"""Reports: recordings stored, compacted, summed up and compared.

- :mod:`.storage`: writes windows and traces
- :mod:`.retention`: turns minutes into hours and days, and prunes
- :mod:`.names`: endpoints and commands on record
- :mod:`.totals`: the report by endpoint, command or query
- :mod:`.traces`: the few requests and commands that are kept whole
- :mod:`.n_plus_one`: statements that a request repeats
- :mod:`.baselines`: saved measurements, compared
- :mod:`.statistics`: percentiles and the bootstrap behind a comparison

The reasons are in docs/decisions/profiling.md.
"""

from .storage import Series, Total, Trace, Window, shown_names, store

__all__ = ["Series", "Total", "Trace", "Window", "shown_names", "store"]
