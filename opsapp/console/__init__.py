"""The console: what `flask shell` and `flask query` are made of, without a terminal."""
