"""The database's life: set up, migrate, inspect, back up."""
