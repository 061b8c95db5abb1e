"""Recording: measure requests and commands while they run."""
