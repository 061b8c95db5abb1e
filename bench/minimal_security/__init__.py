"""The peer of the start-up benchmark: the least application that has Flask-Security's commands."""
