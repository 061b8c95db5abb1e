"""Audit: read, verify and checkpoint the chain of events."""
