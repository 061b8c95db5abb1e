"""Views of reports: text, SVG and HTML."""
