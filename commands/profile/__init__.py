"""`flask profile`."""
