"""Views of reports and traces.

- :mod:`.text`: lines that fit a terminal
- :mod:`.html`: self-contained pages

The reason for pages without other files is in
docs/decisions/profiling.md#pages-need-no-other-file.
"""
