"""Applications that are built on opsapp."""
