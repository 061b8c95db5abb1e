"""Connections to the two databases, their errors, locks and rows."""
