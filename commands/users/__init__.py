"""`flask users`."""
